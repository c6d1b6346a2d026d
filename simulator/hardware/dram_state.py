"""What a DRAM controller obeys and what it remembers: the arrays that its kernel works on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FAR = 2**62
"""A time that never comes."""
NOTHING, ACTIVATE, READ, WRITE, PRECHARGE, REFRESH = -1, 0, 1, 2, 3, 4
COMMANDS = ("activate", "read", "write", "precharge", "refresh")
"""Names of the commands, by number."""
NO_ENTRY = 1 << 20
"""The entry of a queue that has none such, and a count of row hits that is never reached."""
MORE_REQUESTS, MORE_WAITERS, ENDED, PAUSED, WATCHED = range(5)
"""Why ``advance`` returned: it has taken every request, room for merged reads ran out, all has been served, nothing
more happens up to the cycle asked for, or all requests that are watched have been served."""
ROW, IS_WRITE, SLOTS = 32, 1 << 31, (1 << 31) - 1
"""How an entry of a bank's queue is packed: the row, whether it writes, and the line's slot."""
TAKEN, SERVED, DRAINED, TIME = range(4)
"""Where ``advance`` ends: all requests are taken; all have called back; no write is left in the buffers, either; or
nowhere but at the last cycle asked for."""
BANKS = 20
"""A waiting request is packed as slot and bank; its bank's number has this many bits."""
BINS = 128
"""Bins of time in which lines moved are counted; an even number."""
BUCKETS, BUCKET_CYCLES = 1024, 8
"""The histogram of read latencies: its last bucket is open-ended."""


class Rules(NamedTuple):
    """What one controller obeys: counts, queues, policy, and least distances between commands in memory cycles.

    ``_l``, ``_s`` and ``_o`` end the distances within a bank group, to other groups of the rank, and to other ranks.
    """

    channels: int
    ranks: int
    groups: int
    banks: int
    """Banks of a group."""
    rank_bits: int
    """Bits of a bank's number within its rank."""
    bank_bits: int
    """Bits of a bank's number within its group."""
    line_bits: int
    channel_at: int
    rank_at: int
    group_at: int
    bank_at: int
    row_at: int
    column_at: int
    rows: int
    columns: int
    """Lines of a row."""
    read_queue: int
    write_buffer: int
    write_low: int
    """While no command waits, more writes than this are drained."""
    bank_queue: int
    hit_cap: int
    closed_page: bool
    in_order: bool
    dual_issue: bool
    accepts: int
    """Requests taken in per cycle, at most."""
    refresh_interval: int
    """Cycles between two refreshes of one channel, each of the next rank."""
    refresh_time: int
    read_delay: int
    """From a read command to the end of its data."""
    activate_activate: int
    activate_activate_l: int
    activate_activate_s: int
    four_activates: int
    activate_read: int
    activate_write: int
    activate_precharge: int
    read_read_l: int
    read_read_s: int
    read_read_o: int
    read_write: int
    read_write_o: int
    read_precharge: int
    read_activate: int
    """After a read that precharges."""
    read_refresh: int
    write_write_l: int
    write_write_s: int
    write_write_o: int
    write_read_l: int
    write_read_s: int
    write_read_o: int
    write_precharge: int
    precharge_activate: int
    precharge_precharge: int


def _fields(names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names.split()])


BANK = _fields("row hits queued first_read first_write may_precharge activate read write precharge refresh")
GROUP = _fields("activate read write")
RANK = _fields("activate read write precharge refresh window0 window1 window2 window3 open_banks opened active")
CHANNEL = _fields(
    "pointer refreshing refreshes draining reads writes read_from write_from freed queued wake first_return returns "
    "free"
)
SLOT = _fields("line row column bank write issued done accepted index waiters next")
WAITER = _fields("accepted index next")
FORWARD = _fields("line until")
TOTAL = _fields(
    "now taken next_index first_index unissued last_done logged free_waiter forwards "
    "activates reads writes precharges refreshes read_hits write_hits conflicts dual forwarded merged_reads "
    "merged_writes latency watched remaining undrained last_write bin_bits"
)


class State(NamedTuple):
    """All that a controller remembers; C channels, R ranks, G groups and B banks of each."""

    channel: NDArray[np.void]
    """(C,)"""
    rank: NDArray[np.void]
    """(C, R): earliest next commands in the rank, its last activations, its open banks."""
    group: NDArray[np.void]
    """(C, R·G): earliest next commands in the bank group."""
    bank: NDArray[np.void]
    """(C, R·G·B): the open row (−1: none), earliest next commands, and which entries of its queue could go."""
    wake: Ints
    """(C, R·G·B): no command of the bank's queue is ready before."""
    queue: Ints
    """(C, R·G·B, depth): the bank queues, oldest first: row, write and slot of each entry, packed."""
    waiting: Ints
    """(C, 2, length): slots and banks of the read queue and of the write buffer, oldest first, packed."""
    slot: NDArray[np.void]
    """(C, slots): lines that are under way: from acceptance to the write command, or to the end of the read data."""
    bucket: Ints
    """(C, power of two): first slot of each hash of a line."""
    unused: Ints
    """(C, slots): stack of free slots."""
    returning: Ints
    """(C, slots): ring of slots whose data are under way."""
    waiter: NDArray[np.void]
    """(W,): further reads of a line that is read already."""
    forward: NDArray[np.void]
    """(2 · accepts,): ring of the last reads that were served by the write buffer."""
    total: NDArray[np.void]
    """(1,): time and counts."""
    histogram: Ints
    """(BUCKETS,): reads by latency."""
    moved: Ints
    """(BINS, 2): lines read and written by time, in bins of 2**bin_bits cycles of their commands."""
    log: Ints
    """(N, 8): the first commands: cycle, command, channel, rank, group, bank, row, column; −1 where it has none."""
    served: Ints
    """(N, 2): cycles at which requests ``first_index …`` were taken in, and done."""


def new_state(rules: Rules, commands: int = 0, requests: int = 0) -> State:
    """Return a controller at rest, which keeps the first ``commands`` commands and times of ``requests`` requests."""
    ranks, groups = rules.ranks, rules.ranks * rules.groups
    banks, channels = groups * rules.banks, rules.channels
    slots = rules.read_queue + rules.write_buffer + banks * rules.bank_queue + rules.read_delay + 4
    state = State(
        channel=np.zeros(channels, CHANNEL),
        rank=np.zeros((channels, ranks), RANK),
        group=np.zeros((channels, groups), GROUP),
        bank=np.zeros((channels, banks), BANK),
        wake=np.full((channels, banks), FAR),
        queue=np.zeros((channels, banks, rules.bank_queue), np.int64),
        waiting=np.zeros((channels, 2, max(rules.read_queue, rules.write_buffer)), np.int64),
        slot=np.zeros((channels, slots), SLOT),
        bucket=np.full((channels, 1 << (2 * slots - 1).bit_length()), -1),
        unused=np.tile(np.arange(slots), (channels, 1)),
        returning=np.zeros((channels, slots), np.int64),
        waiter=np.zeros(0, WAITER),
        forward=np.zeros(2 * rules.accepts, FORWARD),
        total=np.zeros(1, TOTAL),
        histogram=np.zeros(BUCKETS, np.int64),
        moved=np.zeros((BINS, 2), np.int64),
        log=np.full((commands, 8), -1),
        served=np.full((requests, 2), -1),
    )
    state.bank["row"] = -1
    state.bank["first_read"] = state.bank["first_write"] = NO_ENTRY
    state.channel["refreshing"] = state.channel["freed"] = -1
    state.channel["free"] = slots
    state.channel["wake"] = rules.refresh_interval
    state.total["free_waiter"] = -1
    return more_waiters(state)


def more_waiters(state: State) -> State:
    """Return the state with room for twice as many merged reads."""
    old = len(state.waiter)
    waiter = np.zeros(max(64, 2 * old), WAITER)
    waiter[:old] = state.waiter
    waiter["next"][old:] = np.arange(old + 1, len(waiter) + 1)
    waiter["next"][-1] = state.total["free_waiter"][0]
    state.total["free_waiter"] = old
    return state._replace(waiter=waiter)
