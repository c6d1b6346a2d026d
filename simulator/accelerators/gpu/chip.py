"""The configuration of a GPU: what data sheets say of it, and how its kernels are launched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simulator.arch.part import Part
from simulator.arch.units import Bytes, Hertz, Picoseconds
from simulator.hardware.dram import SimpleChannel

Precision = Literal["fp16", "bf16", "tf32", "fp32"]
Count = Annotated[int, Field(ge=1)]

WIDTHS = {"fp16": 2, "bf16": 2, "tf32": 4, "fp32": 4}
"""Bytes of an operand in memory."""


class Multiprocessors(Part):
    """The streaming multiprocessors (SMs)."""

    count: Count
    """SMs."""
    lanes: Count
    """FP32 instructions that an SM starts per cycle: CUDA cores."""
    threads: Annotated[int, Field(ge=1)]
    """Threads resident on an SM at most."""
    shared_bytes_per_cycle: Count
    """Bytes that an SM's shared memory gives or takes per cycle."""
    port_bytes_per_cycle: Count
    """Bytes that an SM exchanges with the L2 cache per cycle."""
    latency: Annotated[int, Field(ge=0)]
    """Cycles from a load to its data where these come from the L2 cache or DRAM."""
    cluster: Count
    """Thread blocks that share what one of them loads (multicast within a cluster); 1: none do."""


class Tensor(Part):
    """The tensor cores of an SM."""

    fp16: Annotated[int, Field(ge=0)]
    """Dense multiply-accumulates per cycle on FP16."""
    bf16: Annotated[int, Field(ge=0)]
    """The same on BF16; 0: not supported."""
    tf32: Annotated[int, Field(ge=0)]
    """The same on TF32; 0: not supported."""
    sparse: Annotated[int, Field(ge=0)]
    """How many times faster a product with a 2:4 (1:2) operand is; 0: not supported."""
    achieved: Annotated[float, Field(gt=0, le=1)]
    """Share of the peak rate that the main loop of a matrix product reaches. Calibrated: one number for all shapes."""


class Cache(Part):
    """The L2 cache."""

    size: Bytes
    """All of it."""
    partitions: Count
    """Parts, each of which keeps a copy of what its own SMs use."""
    bytes_per_cycle: Count
    """Bytes exchanged with all SMs per cycle."""

    @property
    def usable(self) -> int:
        """Bytes that are kept for all SMs."""
        return self.size // self.partitions


class Launch(Part):
    """What starting a kernel costs."""

    device: Picoseconds
    """On the GPU, from the end of a kernel to the first work of the next, however many are queued."""
    synchronised: bool
    """Whether the host waits for every operator, as who times operators one by one does, and adds its own time."""
    library: Picoseconds
    """Host time of a call of the matrix library, where synchronised. Calibrated on the smallest product measured."""
    native: Picoseconds
    """Host time of a framework's own kernel (softmax), where synchronised. Calibrated likewise."""
    compiled: Picoseconds
    """Host time of a just-in-time compiled function (normalisation, activation), likewise."""


class Instructions(Part):
    """FP32-lane instructions that elementary functions take; one for each other operation and conversion."""

    exp: Count
    """Exponential in FP32."""
    divide: Count
    """Division in FP32."""
    tanh: Count
    """Hyperbolic tangent in FP32."""
    flash: Count
    """Of a score in fused attention: scaling, maximum, exp2, sum, conversion."""
    prune: Count
    """Of a score in the epilogue that keeps N of M."""


class AttentionMode(Part):
    """How attention runs."""

    mode: Literal["dense", "flash", "n_m", "vector"]
    """``dense``: Q·Kᵀ, softmax and A·V in a kernel each; ``flash``: one fused kernel; ``n_m``: Dfss, N:M pruned in the
    epilogue of Q·Kᵀ; ``vector``: DSA, column vectors of consecutive queries that keep the same keys."""
    vector: Count
    """Consecutive queries of a vector, in the mode ``vector``."""
    passes: Annotated[int, Field(ge=0)]
    """Kernels more that go over the scores of dense attention before softmax: scaling, mask."""


class Chip(Part):
    """The configuration of a GPU."""

    clock: Hertz
    """Boost clock of the SMs."""
    technology: str
    """Table of energies, in arch_configs/technology; the GPU's own actions are priced by ``board_watts``."""
    precision: Precision
    """Of all operands, in memory and in the tensor cores; ``fp32`` runs on the CUDA cores."""
    sm: Multiprocessors
    tensor: Tensor
    l2: Cache
    dram: SimpleChannel
    """Its bandwidth is what kernels achieve, a calibrated share of the data sheet's."""
    launch: Launch
    instructions: Instructions
    attention: AttentionMode
    slice: Bytes
    """Bytes of DRAM traffic that are worked on as one: those in flight (bandwidth × latency)."""
    board_watts: Annotated[float, Field(ge=0)]
    """Power of the board at full load (TDP), all of it charged in every cycle that a kernel takes."""

    @property
    def width(self) -> int:
        """Bytes of an operand."""
        return WIDTHS[self.precision]

    @property
    def tensor_rate(self) -> int:
        """Dense multiply-accumulates of an SM per cycle at the precision; 0 where it has none."""
        return self.sm.lanes if self.precision == "fp32" else int(getattr(self.tensor, self.precision))

    @property
    def resident(self) -> int:
        """Bytes that a kernel may leave for the next in the L2 cache."""
        return self.l2.usable // 2

    def cycles(self, picoseconds: int) -> int:
        """Return a time in cycles, rounded up."""
        return -(-picoseconds * self.clock // 10**12)
