"""Where the tensors of a Program lie in memory."""

from __future__ import annotations

from simulator.program import Program


def layout(program: Program, burst: int) -> tuple[dict[str, int], int]:
    """Lay the tensors out in memory, one after the other, each from a burst's beginning: their addresses, and the end.

    The lines of a piece begin with that which holds its first byte.
    """
    bases, end = {}, 0
    for stream in (*program.reads, *program.writes):
        bases[stream.name] = end
        end += -(-max(stream.compulsory, int((stream.offset + stream.size).max())) // burst) * burst
    return bases, end


def footprint(program: Program, burst: int) -> int:
    """Return the bytes that a Program's tensors take in memory."""
    return layout(program, burst)[1]
