"""The configuration of a detailed DRAM: how it is organised, its timing, its currents, and its controller's policy.

Names are those of JEDEC's standards and of data sheets. Times are in cycles of the command clock (tCK), as in the
speed bins of data sheets; currents are in milliamperes per device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from simulator.arch.config import Arch, parse_config, validate
from simulator.arch.part import Part
from simulator.arch.shipped import read_shipped
from simulator.arch.units import Picoseconds
from simulator.errors import InputError
from simulator.hardware.dram_port import DetailedPort
from simulator.hardware.dram_requests import Counts
from simulator.hardware.dram_state import FAR, NO_ENTRY, Rules

FIELDS = {"ro": "row", "ch": "channel", "ra": "rank", "bg": "bank group", "ba": "bank", "co": "column"}
"""Letters of an address mapping."""

MOST_BANKS, MOST_LINES, LARGEST_MEMORY = 2**14, 2**20, 2**50
"""Limits beyond all hardware, so that a controller's state fits this machine, and addresses 64 bits."""


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"expected a power of two, not {value}")
    return value


PowerOfTwo = Annotated[int, Field(ge=1, le=2**20), AfterValidator(_power_of_two)]
Count = Annotated[int, Field(ge=1, le=2**10)]
Cycles = Annotated[int, Field(ge=1, le=2**20)]
CyclesOrNone = Annotated[int, Field(ge=0, le=2**20)]
Current = Annotated[float, Field(ge=0, le=10**5)]


class Organisation(Part):
    """What the memory is made of."""

    channels: PowerOfTwo
    """Independent channels, each with its own controller."""
    ranks: PowerOfTwo
    """Ranks of a channel: devices that act together."""
    bank_groups: PowerOfTwo
    """Bank groups of a rank; 1: the long distances between commands of one group do not apply."""
    banks_per_group: PowerOfTwo
    """Banks of a bank group."""
    rows: PowerOfTwo
    """Rows of a bank."""
    columns: PowerOfTwo
    """Columns of a row, each as wide as the device."""
    device_width: PowerOfTwo
    """Data bits of one device."""
    bus_width: PowerOfTwo
    """Data bits of a channel: as many devices side by side as it takes."""
    burst_length: PowerOfTwo
    """Transfers per access."""
    data_rate: PowerOfTwo
    """Transfers per command clock: 2 for DDR; 8 where the data clock is four times as fast (LPDDR5)."""

    @model_validator(mode="after")
    def _is_no_larger_than_any(self) -> Organisation:
        banks = self.channels * self.ranks * self.bank_groups * self.banks_per_group
        if banks > MOST_BANKS:
            raise ValueError(f"expected at most {MOST_BANKS} banks in all channels, not {banks}")
        if self.capacity > LARGEST_MEMORY:
            raise ValueError(f"expected at most {LARGEST_MEMORY} bytes in all channels, not {self.capacity}")
        return self

    @field_validator("bus_width")
    @classmethod
    def _holds_devices(cls, value: int, info: ValidationInfo) -> int:
        width = info.data.get("device_width", value)
        if value < width or value < 8:
            raise ValueError(f"expected at least a device's {width} bits, and 8, not {value}")
        return value

    @field_validator("burst_length")
    @classmethod
    def _fits_a_row(cls, value: int, info: ValidationInfo) -> int:
        columns = info.data.get("columns", value)
        if value > columns:
            raise ValueError(f"expected at most the {columns} columns of a row, not {value}")
        return value

    @field_validator("data_rate")
    @classmethod
    def _divides_a_burst(cls, value: int, info: ValidationInfo) -> int:
        length = info.data.get("burst_length", value)
        if value > length:
            raise ValueError(f"expected at most the {length} transfers of a burst, not {value}")
        return value

    @property
    def devices(self) -> int:
        """Devices of a rank."""
        return self.bus_width // self.device_width

    @property
    def line(self) -> int:
        """Bytes of one burst."""
        return self.bus_width // 8 * self.burst_length

    @property
    def burst_cycles(self) -> int:
        """Command clocks for which a burst takes the data bus."""
        return self.burst_length // self.data_rate

    @property
    def lines_per_row(self) -> int:
        """Bursts of a row."""
        return self.columns // self.burst_length

    @property
    def capacity(self) -> int:
        """Bytes of all channels."""
        rank = self.bank_groups * self.banks_per_group * self.rows * self.lines_per_row * self.line
        return self.channels * self.ranks * rank


class Timing(Part):
    """Least distances between commands, in cycles of tCK; ``_S`` and ``_L``: to another, or in the same bank group."""

    tCK: Annotated[Picoseconds, Field(ge=1)]
    """Period of the command clock."""
    AL: CyclesOrNone
    """Additive latency of posted reads and writes."""
    CL: Cycles
    """From a read to its first data."""
    CWL: Cycles
    """From a write to its first data."""
    tRCDRD: Cycles
    """From an activate to a read."""
    tRCDWR: Cycles
    """From an activate to a write; standards other than HBM and GDDR have one tRCD for both."""
    tRP: Cycles
    """From a precharge to an activate."""
    tRAS: Cycles
    """From an activate to a precharge."""
    tRFC: Cycles
    """From a refresh of a rank to its next command."""
    tREFI: Cycles
    """Between two refreshes of a rank."""
    tRRD_S: Cycles
    """Between activates of banks in different groups."""
    tRRD_L: Cycles
    """Between activates of banks in one group."""
    tFAW: Cycles
    """Window with at most four activates of a rank."""
    tWTR_S: Cycles
    """From the end of written data to a read of another group."""
    tWTR_L: Cycles
    """From the end of written data to a read of the same group."""
    tWR: Cycles
    """From the end of written data to a precharge."""
    tRTP: Cycles
    """From a read to a precharge."""
    tCCD_S: Cycles
    """Between reads, or writes, of different groups."""
    tCCD_L: Cycles
    """Between reads of one group."""
    tCCD_L_WR: Cycles
    """Between writes of one group (DDR5); as tCCD_L in other standards."""
    tRTRS: CyclesOrNone
    """Gap on the data bus when the rank, or its direction, changes."""
    tPPD: CyclesOrNone
    """Between precharges of different banks of a rank (LPDDR4, GDDR); 0: none."""

    @field_validator("tRAS")
    @classmethod
    def _row_stays_open_for_a_read(cls, value: int, info: ValidationInfo) -> int:
        return _at_least(value, info, "tRCDRD")

    @field_validator("tREFI")
    @classmethod
    def _refresh_ends_before_the_next(cls, value: int, info: ValidationInfo) -> int:
        return _at_least(value, info, "tRFC")

    @field_validator("tRRD_L", "tWTR_L", "tCCD_L", "tCCD_L_WR")
    @classmethod
    def _same_group_is_not_faster(cls, value: int, info: ValidationInfo) -> int:
        return _at_least(value, info, f"{str(info.field_name).partition('_')[0]}_S")

    @field_validator("tFAW")
    @classmethod
    def _four_take_longer_than_two(cls, value: int, info: ValidationInfo) -> int:
        return _at_least(value, info, "tRRD_S")


def _at_least(value: int, info: ValidationInfo, other: str) -> int:
    """Refuse a time shorter than another that must fit into it; one that is wrong itself is another complaint."""
    least = info.data.get(other, value)
    if value < least:
        raise ValueError(f"expected at least {other}, which is {least}, not {value}")
    return value


class Currents(Part):
    """What energy is computed from: the supply, and currents of one device by what it does (data sheet's IDD)."""

    VDD: Annotated[float, Field(gt=0, le=10)]
    """Supply in volts."""
    IDD0: Current
    """One bank activated and precharged, again and again."""
    IDD2N: Current
    """Standby, all banks closed."""
    IDD3N: Current
    """Standby, a bank open."""
    IDD4R: Current
    """Reading, burst after burst."""
    IDD4W: Current
    """Writing, burst after burst."""
    IDD5AB: Current
    """Refreshing all banks."""

    @field_validator("IDD4R", "IDD4W", "IDD5AB")
    @classmethod
    def _is_beyond_standby(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("IDD3N", value)
        if value < least:
            raise ValueError(f"expected at least IDD3N, which is {least}, not {value}")
        return value


class Controller(Part):
    """Queues and policy of each channel's controller."""

    mapping: str
    """How an address is cut, from its highest to its lowest bits: ro, ch, ra, bg, ba and co, each once."""
    accepts: Annotated[int, Field(ge=1, le=64)]
    """Requests taken in per cycle by all channels together."""
    read_queue: Count
    """Reads that wait for room in their bank's queue."""
    write_buffer: Count
    """Writes that wait to be drained; they serve reads of their lines meanwhile."""
    write_low: Annotated[int, Field(ge=0, le=2**10)]
    """More writes than this are drained when no command waits; all are once the buffer is full."""
    bank_queue: Annotated[int, Field(ge=1, le=64)]
    """Commands that wait at each bank."""
    row_hit_cap: Count
    """Hits after which a row may be closed although more are waiting (scheduler ``fr_fcfs_cap``)."""
    page: Literal["open", "closed"]
    """Whether a row stays open, or each read and write closes it (auto-precharge)."""
    scheduler: Literal["fr_fcfs_cap", "fr_fcfs", "fcfs"]
    """First-ready with the cap on row hits, without it, or each bank in order; banks always take turns."""
    refresh: Literal["rank", "none"]
    """Each rank in its turn, every tREFI; or never."""
    dual_issue: bool
    """Whether a read or write and another command may go in one cycle (HBM has a row and a column bus)."""

    @field_validator("mapping")
    @classmethod
    def _names_each_field_once(cls, value: str) -> str:
        known = ", ".join(f"{short} ({long})" for short, long in FIELDS.items())
        parts = [value[i : i + 2] for i in range(0, len(value), 2)]
        for part in parts:
            if part not in FIELDS:
                raise ValueError(f"'{part}' is no part of an address; expected {known}, not '{value}'")
        for part in FIELDS:
            if parts.count(part) != 1:
                raise ValueError(f"expected '{part}' once; known: {known}, not '{value}'")
        return value

    @field_validator("write_low")
    @classmethod
    def _below_the_buffer(cls, value: int, info: ValidationInfo) -> int:
        size = info.data.get("write_buffer", value + 1)
        if value >= size:
            raise ValueError(f"expected less than write_buffer, which is {size}, not {value}")
        return value


class Energy(NamedTuple):
    """Picojoules of a run by what they were spent on; of the devices alone: no interface, no termination."""

    activate: float
    """Activates with their precharges, beyond standby."""
    read: float
    """Bursts read, beyond standby."""
    write: float
    """Bursts written, beyond standby."""
    refresh: float
    """Refreshes, beyond standby."""
    active_standby: float
    """Background of ranks with an open bank."""
    idle_standby: float
    """Background of ranks whose banks are all closed."""

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return sum(self)


def spent(counts: Counts) -> tuple[int, ...]:
    """Return how often a run did what each part of ``Energy`` is spent on."""
    c = counts
    return (c.activates, c.reads, c.writes, c.refreshes, c.active_cycles, c.idle_cycles)


class Dram(Part):
    """A memory of one or more channels, simulated command by command."""

    organisation: Organisation
    timing: Timing
    currents: Currents | None = None
    """Without them, energy is not known."""
    controller: Controller

    @model_validator(mode="after")
    def _fits_a_machine(self) -> Dram:
        o, c, t = self.organisation, self.controller, self.timing
        banks = o.ranks * o.bank_groups * o.banks_per_group
        lines = o.channels * (c.read_queue + c.write_buffer + banks * c.bank_queue + t.AL + t.CL + o.burst_cycles)
        if lines > MOST_LINES:
            raise ValueError(
                f"expected at most {MOST_LINES} lines under way in all queues and on all buses, not {lines}"
            )
        return self

    @field_validator("timing")
    @classmethod
    def _leaves_time_between_refreshes(cls, value: Timing, info: ValidationInfo) -> Timing:
        if "organisation" not in info.data:
            return value
        o, t = info.data["organisation"], value
        rows = 2 * (t.tRAS + t.tRP) + o.bank_groups * o.banks_per_group * max(1, t.tPPD)
        access = rows + t.AL + t.CWL + o.burst_cycles + t.tWR
        if t.tREFI < (least := t.tRFC + access):
            raise ValueError(
                f"expected a tREFI of at least {least}, in which a refresh, closing all rows and an access fit, "
                f"not {t.tREFI}"
            )
        if t.tREFI < (least := access * o.ranks):
            raise ValueError(
                f"expected a tREFI of at least {least}, so that all rows of a rank can be closed before the refresh of "
                f"the next of {o.ranks} ranks falls due, not {t.tREFI}"
            )
        return value

    @field_validator("currents")
    @classmethod
    def _rows_cost_something(cls, value: Currents | None, info: ValidationInfo) -> Currents | None:
        if value is not None and "timing" in info.data:
            t, i = info.data["timing"], value
            least = (i.IDD3N * t.tRAS + i.IDD2N * t.tRP) / (t.tRAS + t.tRP)
            if least > i.IDD0:
                raise ValueError(
                    f"expected an IDD0 of at least {least:g}, that of standby over a row cycle, not {i.IDD0}"
                )
        return value

    @property
    def burst(self) -> int:
        """Bytes of the smallest access."""
        return self.organisation.line

    @property
    def capacity(self) -> int:
        """Bytes of all channels."""
        return self.organisation.capacity

    @property
    def bandwidth(self) -> float:
        """See ``Memory``."""
        o = self.organisation
        return o.channels * o.line * 10**12 / (o.burst_cycles * self.timing.tCK)

    def at_least(self, size: int, clock: int) -> int:
        """See ``Memory``: all channels' data buses busy all the time."""
        per_burst = self.organisation.burst_cycles * self.timing.tCK * clock
        return -(-size * per_burst // (self.organisation.line * self.organisation.channels * 10**12))

    def open(self, clock: int) -> DetailedPort:
        """Return all channels at rest, beside a core at ``clock`` Hz."""
        return DetailedPort(self, clock)

    def latency_cycles(self, clock: int, write: bool) -> int:
        """See ``Memory``: the way through the queues, an activate and a command's latency, rounded up."""
        t = self.timing
        cycles = 2 + (t.tRCDWR + t.CWL if write else t.tRCDRD + t.CL)  # posted AL early, the data come AL later
        return -(-cycles * self.timing.tCK * clock // 10**12)

    @property
    def energy_each(self) -> Energy:
        """Picojoules of one command of each kind, and of one rank for one cycle: V × mA × ns = pJ (Micron TN-40-07).

        Raises:
            InputError: the memory has no currents.

        """
        t, i, o = self.timing, self.currents, self.organisation
        if i is None:
            raise InputError("this memory has no section 'currents', from which energy is computed")
        unit = i.VDD * t.tCK / 1000 * o.devices
        return Energy(
            activate=unit * (i.IDD0 * (t.tRAS + t.tRP) - i.IDD3N * t.tRAS - i.IDD2N * t.tRP),
            read=unit * (i.IDD4R - i.IDD3N) * o.burst_cycles,
            write=unit * (i.IDD4W - i.IDD3N) * o.burst_cycles,
            refresh=unit * (i.IDD5AB - i.IDD3N) * t.tRFC,
            active_standby=unit * i.IDD3N,
            idle_standby=unit * i.IDD2N,
        )

    def energy(self, counts: Counts) -> Energy:
        """Return a run's energy by current.

        Raises:
            InputError: the memory has no currents.

        """
        return Energy(*(each * count for each, count in zip(self.energy_each, spent(counts), strict=True)))

    @property
    def rules(self) -> Rules:
        """What the controllers obey: distances derived from the timing as DRAMsim3 derives them."""
        o, t, c = self.organisation, self.timing, self.controller
        burst = o.burst_cycles
        read, write = t.AL + t.CL, t.AL + t.CWL
        read_delay, write_delay = read + burst, write + burst
        one_group = o.bank_groups == 1
        tccd_l, tccd_l_wr = (t.tCCD_S, t.tCCD_S) if one_group else (t.tCCD_L, t.tCCD_L_WR)
        twtr_l, trrd_l = (t.tWTR_S, t.tRRD_S) if one_group else (t.tWTR_L, t.tRRD_L)
        return Rules(
            channels=o.channels,
            ranks=o.ranks,
            groups=o.bank_groups,
            banks=o.banks_per_group,
            rank_bits=_log2(o.bank_groups * o.banks_per_group),
            bank_bits=_log2(o.banks_per_group),
            line_bits=_log2(o.line),
            **self._positions(),
            rows=o.rows,
            columns=o.lines_per_row,
            read_queue=c.read_queue,
            write_buffer=c.write_buffer,
            write_low=c.write_low,
            bank_queue=c.bank_queue,
            hit_cap=c.row_hit_cap if c.scheduler == "fr_fcfs_cap" else NO_ENTRY,
            closed_page=c.page == "closed",
            in_order=c.scheduler == "fcfs",
            dual_issue=c.dual_issue,
            accepts=c.accepts,
            refresh_interval=max(1, t.tREFI // o.ranks) if c.refresh == "rank" else FAR,
            refresh_time=t.tRFC,
            read_delay=read_delay,
            activate_activate=t.tRAS + t.tRP,
            activate_activate_l=trrd_l,
            activate_activate_s=t.tRRD_S,
            four_activates=t.tFAW,
            activate_read=t.tRCDRD - t.AL,
            activate_write=t.tRCDWR - t.AL,
            activate_precharge=t.tRAS,
            read_read_l=max(burst, tccd_l),
            read_read_s=max(burst, t.tCCD_S),
            read_read_o=burst + t.tRTRS,
            read_write=read + burst - write + t.tRTRS,
            read_write_o=read_delay + burst + t.tRTRS - write_delay,
            read_precharge=t.AL + t.tRTP,
            read_activate=t.AL + burst + t.tRTP + t.tRP,
            read_refresh=t.AL + t.tRTP + t.tRP,
            write_write_l=max(burst, tccd_l_wr),
            write_write_s=max(burst, t.tCCD_S),
            write_write_o=burst,
            write_read_l=write_delay + twtr_l,
            write_read_s=write_delay + t.tWTR_S,
            write_read_o=write_delay + burst + t.tRTRS - read_delay,
            write_precharge=write + burst + t.tWR,
            precharge_activate=t.tRP,
            precharge_precharge=t.tPPD,
        )

    def _positions(self) -> dict[str, int]:
        """Return the lowest bit of each part of a line's number, by the mapping."""
        o = self.organisation
        sizes = {
            "ro": o.rows, "ch": o.channels, "ra": o.ranks, "bg": o.bank_groups, "ba": o.banks_per_group,
            "co": o.lines_per_row,
        }  # fmt: skip
        names = {
            "ro": "row_at", "ch": "channel_at", "ra": "rank_at", "bg": "group_at", "ba": "bank_at",
            "co": "column_at",
        }  # fmt: skip
        positions, at = {}, 0
        for i in range(len(self.controller.mapping) - 2, -1, -2):
            part = self.controller.mapping[i : i + 2]
            positions[names[part]] = at
            at += _log2(sizes[part])
        return positions


def _log2(power_of_two: int) -> int:
    return power_of_two.bit_length() - 1


def read_memory(name_or_path: str | Path) -> Arch[Dram]:
    """Read a shipped memory by name, or a ``.yaml`` file; ``chip`` of what is returned is the memory.

    Raises:
        InputError: as for a chip's configuration: one sentence that names file and key.

    """
    config = parse_config(*read_shipped(name_or_path, "memory", (".yaml", ".yml"), "memory"), kind="memory")
    if config.accelerator != "dram":
        raise InputError(f"{config.origin}: key 'memory' is '{config.accelerator}'; expected 'dram'")
    return validate(config, Dram)
