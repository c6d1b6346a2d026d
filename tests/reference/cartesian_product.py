"""SCNN's PEs, every cycle of an output-channel group, from the paper's sections 3 and 4.

Weights are broadcast channel by channel into every PE's FIFO, a channel when all FIFOs have room for the whole of it,
and stay there until the PE is done with the channel. A PE takes a vector of its activations of the channel and phase,
multiplies it with a vector of weights in each cycle, and takes its next vector of activations when all weights have
passed. Each bank adds a product per cycle; the others wait in its queue, and the multipliers wait while a product finds
no room there. The group is done when all PEs are, and no product waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Product = tuple[int, int, int, int]
"""Filter within the group, row and column of the output, and value."""


@dataclass(frozen=True)
class Weight:
    k: int
    rise: int
    """What is added to a pixel's row within its phase to give the output's."""
    shift: int
    """The same of its column."""
    value: int


@dataclass(frozen=True)
class Pixel:
    up: int
    left: int
    value: int


@dataclass(frozen=True)
class Hardware:
    weights: int
    activations: int
    banks: int
    queue: int
    fifo: int
    rate: int


@dataclass
class Result:
    cycles: int = 0
    operations: int = 0
    blocked: int = 0
    pairs: int = 0
    sums: dict[tuple[int, int, int], int] = field(default_factory=dict)


def bank_of(product: Product, banks: int) -> int:
    """Return the bank of an output by DNNsim's hash."""
    k, y, x, _ = product
    high = (16 if k & 4 else 0) ^ (16 if x & 2 else 0) ^ (16 if y & 2 else 0)
    return (high + 8 * (x & 1) + 4 * (y & 1) + k % 4) % banks


def vectors(items: Sequence[Any], length: int) -> list[list[Any]]:
    """Cut a list into vectors, the last one shorter."""
    return [list(items[i : i + length]) for i in range(0, len(items), length)]


class PE:
    def __init__(self, hardware: Hardware, weights: list[list[list[Weight]]], pixels: list[list[list[Pixel]]]):
        """Take the weights and the PE's own activations, by channel and phase."""
        self.hardware = hardware
        self.steps: list[deque[tuple[list[Pixel], list[Weight]]]] = [
            deque(
                (a, w)
                for w_phase, a_phase in zip(w_channel, a_channel, strict=True)
                for a in vectors(a_phase, hardware.activations)
                for w in vectors(w_phase, hardware.weights)
            )
            for w_channel, a_channel in zip(weights, pixels, strict=True)
        ]
        self.waiting: list[Product] = []
        """Products that have found no room."""
        self.queues: list[deque[Product]] = [deque() for _ in range(hardware.banks)]
        self.done = 0
        """Channels."""

    def skip_empty(self) -> None:
        while self.done < len(self.steps) and not self.steps[self.done] and not self.waiting:
            self.done += 1

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be multiplied."""
        return not self.waiting and not any(self.steps)

    def cycle(self, begun: int, result: Result) -> None:
        """Work for a cycle; the weights of ``begun`` channels have come, or their first ones have."""
        ending = self.finished and any(self.queues)
        if self.waiting or ending:
            result.blocked += 1
        elif self.done < begun and self.steps[self.done]:
            pixels, weights = self.steps[self.done].popleft()
            self.waiting = [(w.k, a.up + w.rise, a.left + w.shift, a.value * w.value) for w in weights for a in pixels]
            result.operations += 1
            result.pairs += len(self.waiting)
        for product in self.waiting:
            self.queues[bank_of(product, self.hardware.banks)].append(product)
        self.waiting = []
        for queue in self.queues:
            if queue:
                k, y, x, value = queue.popleft()
                result.sums[k, y, x] = result.sums.get((k, y, x), 0) + value
            while len(queue) > self.hardware.queue:
                self.waiting.append(queue.pop())
        self.skip_empty()


def run_group(hardware: Hardware, weights: list[list[list[Weight]]], pixels: list[list[list[list[Pixel]]]]) -> Result:
    """Run a group: weights by channel and phase, pixels by PE, channel and phase."""
    result = Result()
    pes = [PE(hardware, weights, own) for own in pixels]
    sizes = [sum(len(vectors(phase, hardware.weights)) for phase in channel) for channel in weights]
    held: deque[int] = deque()  # channels in the FIFOs
    begun = left = 0  # channels that are let in; vectors of the last one that are still to be sent
    for pe in pes:
        pe.skip_empty()
    while not all(pe.finished and not any(pe.queues) for pe in pes):
        budget = hardware.rate
        while True:
            sent = min(budget, left)
            budget, left = budget - sent, left - sent
            if left or begun == len(weights):
                break
            while held and sum(sizes[c] for c in held) + sizes[begun] > hardware.fifo:
                if any(pe.done <= held[0] for pe in pes):
                    break
                held.popleft()
            if held and sum(sizes[c] for c in held) + sizes[begun] > hardware.fifo:
                break
            if sizes[begun] and not budget:
                break
            held.append(begun)
            left = sizes[begun]
            begun += 1
        for pe in pes:
            pe.cycle(begun, result)
        result.cycles += 1
    return result
