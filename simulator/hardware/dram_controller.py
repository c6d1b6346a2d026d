"""The DRAM controller, command by command: DRAMsim3's rules (Li et al., IEEE CAL 2020), event by event.

Each channel has a read queue, a write buffer and one command queue per bank. In every cycle of the memory clock, in
this order: what has been read returns; a refresh that is due goes first; else the bank queues are asked in turn for
their first ready command, which is issued (HBM: a second one may go beside it, if exactly one of both moves data); one
request moves from the read queue, or while writes are drained from the write buffer, to its bank's queue; requests
are taken in, in order. Cycles in which none of that can happen are passed over: a cycle is visited only when a
command may be ready, a request may move, arrive or be unblocked, or a refresh is due.

A run is resumed wherever its input ended: ``advance`` takes the requests piece by piece, and ``State`` is all that is
kept, whatever the length of the run. A *line* is one burst of a channel, 64 B everywhere so far.
"""

from __future__ import annotations

from typing import Any

from simulator.hardware.dram_state import (
    ACTIVATE,
    BANKS,
    BINS,
    BUCKET_CYCLES,
    BUCKETS,
    DRAINED,
    ENDED,
    FAR,
    IS_WRITE,
    MORE_REQUESTS,
    MORE_WAITERS,
    NO_ENTRY,
    NOTHING,
    PAUSED,
    PRECHARGE,
    READ,
    REFRESH,
    ROW,
    SERVED,
    SLOTS,
    TAKEN,
    WATCHED,
    WRITE,
    Ints,
    Rules,
    State,
)
from simulator.hardware.jit import borrow, inlined_kernel, kernel

Record = Any
"""One element of a structured array, whose fields are attributes in compiled code."""


@inlined_kernel
def _summarise(rules: Rules, bank: Record, queue: Any) -> None:
    """Find which entries of a bank's queue could go: the first read and write of the open row, and a precharge.

    A row is closed for the oldest entry only, and while hits to it wait only after ``hit_cap`` of them.
    """
    bank.first_read = NO_ENTRY
    bank.first_write = NO_ENTRY
    bank.may_precharge = 0
    if bank.row < 0 or bank.queued == 0:
        return
    length = 1 if rules.in_order else bank.queued
    for entry in range(length):
        if queue[entry] >> ROW == bank.row:
            if queue[entry] & IS_WRITE:
                if bank.first_write == NO_ENTRY:
                    bank.first_write = entry
            elif bank.first_read == NO_ENTRY:
                bank.first_read = entry
    if queue[0] >> ROW != bank.row:
        none = bank.first_read == NO_ENTRY and bank.first_write == NO_ENTRY
        bank.may_precharge = 1 if none or bank.hits >= rules.hit_cap else 0


@inlined_kernel
def _earliest(bank: Record, group: Record, rank: Record) -> int:
    """Return when the first command of a bank's queue will be ready, if nothing else is issued."""
    if bank.row < 0:
        opens: int = max(max(bank.activate, group.activate), max(rank.activate, rank.window0))
        return opens
    when: int = FAR
    if bank.first_read != NO_ENTRY:
        when = max(max(bank.read, group.read), rank.read)
    if bank.first_write != NO_ENTRY:
        when = min(when, max(max(bank.write, group.write), rank.write))
    if bank.may_precharge:
        when = min(when, max(bank.precharge, rank.precharge))
    return when


@inlined_kernel
def _first_ready(bank: Record, group: Record, rank: Record, now: int) -> int:
    """Return the first ready command of a bank's queue, in its order."""
    if bank.row < 0:
        ready = max(max(bank.activate, group.activate), max(rank.activate, rank.window0)) <= now
        return ACTIVATE if ready else NOTHING
    if bank.may_precharge and max(bank.precharge, rank.precharge) <= now:
        return PRECHARGE
    reads = bank.first_read != NO_ENTRY and max(max(bank.read, group.read), rank.read) <= now
    writes = bank.first_write != NO_ENTRY and max(max(bank.write, group.write), rank.write) <= now
    if reads and (not writes or bank.first_read < bank.first_write):
        return READ
    return WRITE if writes else NOTHING


@inlined_kernel
def _refresh_bank(bank: Any, rank: Record, first: int, count: int, now: int) -> int:
    """Return the open bank of a rank to close now, −1 if all are closed and may be refreshed, −2 to wait."""
    ready = 0
    for q in range(first, first + count):
        if bank[q].row >= 0:
            if max(bank[q].precharge, rank.precharge) <= now:
                return q
        elif max(bank[q].refresh, rank.refresh) <= now:
            ready += 1
    return -1 if ready == count else -2


@inlined_kernel
def _refresh_ready(bank: Any, rank: Record, first: int, count: int) -> int:
    """Return when the next command of a rank's refresh will be ready: a precharge if a bank is open."""
    close, refresh = FAR, rank.refresh
    for q in range(first, first + count):
        if bank[q].row >= 0:
            close = min(close, max(bank[q].precharge, rank.precharge))
        else:
            refresh = max(refresh, bank[q].refresh)
    return close if close < FAR else refresh


@inlined_kernel
def _record(rules: Rules, state: State, now: int, command: int, c: int, q: int, row: int, column: int) -> None:
    total = state.total[0]
    if total.logged < len(state.log):
        line = state.log[total.logged]
        line[0] = now
        line[1] = command
        line[2] = c
        line[3] = q >> rules.rank_bits
        if command != REFRESH:
            line[4] = (q >> rules.bank_bits) & (rules.groups - 1)
            line[5] = q & (rules.banks - 1)
        line[6] = row
        line[7] = column
        total.logged += 1


@inlined_kernel
def _close(bank: Record, rank: Record, now: int) -> None:
    bank.row = -1
    bank.hits = 0
    rank.open_banks -= 1
    if rank.open_banks == 0:
        rank.active += now - rank.opened


@inlined_kernel
def _precharge(rules: Rules, state: State, c: int, q: int, r: int, now: int) -> None:
    bank, rank = state.bank[c, q], state.rank[c, r]
    _close(bank, rank, now)
    bank.activate = max(bank.activate, now + rules.precharge_activate)
    bank.refresh = max(bank.refresh, now + rules.precharge_activate)
    rank.precharge = max(rank.precharge, now + rules.precharge_precharge)
    state.total[0].precharges += 1


@inlined_kernel
def _activate(rules: Rules, state: State, c: int, q: int, r: int, now: int, row: int) -> None:
    bank, group, rank = state.bank[c, q], state.group[c, q >> rules.bank_bits], state.rank[c, r]
    bank.row = row
    bank.activate = max(bank.activate, now + rules.activate_activate)
    bank.read = max(bank.read, now + rules.activate_read)
    bank.write = max(bank.write, now + rules.activate_write)
    bank.precharge = max(bank.precharge, now + rules.activate_precharge)
    group.activate = max(group.activate, now + rules.activate_activate_l)
    rank.activate = max(rank.activate, now + rules.activate_activate_s)
    rank.window0, rank.window1, rank.window2 = rank.window1, rank.window2, rank.window3
    rank.window3 = now + rules.four_activates
    if rank.open_banks == 0:
        rank.opened = now
    rank.open_banks += 1
    state.total[0].activates += 1


@inlined_kernel
def _read_or_write(rules: Rules, state: State, c: int, q: int, r: int, now: int, write: bool) -> None:
    """Keep the distances that a read or write demands, and close its row if that is the policy."""
    bank, group, rank = state.bank[c, q], state.group[c, q >> rules.bank_bits], state.rank[c, r]
    total = state.total[0]
    if write:
        group_read, group_write = rules.write_read_l, rules.write_write_l
        rank_read, rank_write = rules.write_read_s, rules.write_write_s
        other_read, other_write = rules.write_read_o, rules.write_write_o
        precharge, activate = rules.write_precharge, rules.write_precharge + rules.precharge_activate
        refresh = activate
        total.writes += 1
        total.write_hits += 1 if bank.hits else 0
    else:
        group_read, group_write = rules.read_read_l, rules.read_write
        rank_read, rank_write = rules.read_read_s, rules.read_write
        other_read, other_write = rules.read_read_o, rules.read_write_o
        precharge, activate, refresh = rules.read_precharge, rules.read_activate, rules.read_refresh
        total.reads += 1
        total.read_hits += 1 if bank.hits else 0
    group.read = max(group.read, now + group_read)
    group.write = max(group.write, now + group_write)
    for other in range(rules.ranks):
        rank_o = state.rank[c, other]
        rank_o.read = max(rank_o.read, now + (rank_read if other == r else other_read))
        rank_o.write = max(rank_o.write, now + (rank_write if other == r else other_write))
    if rules.closed_page:
        bank.activate = max(bank.activate, now + activate)
        bank.refresh = max(bank.refresh, now + refresh)
        _close(bank, rank, now)
    else:
        bank.precharge = max(bank.precharge, now + precharge)
        bank.hits += 1


@inlined_kernel
def _hash(line: int, size: int) -> int:
    return ((line * 0x9E3779B1) >> 12) & (size - 1)


@inlined_kernel
def _release(state: State, c: int, s: int) -> None:
    """Forget a line: take its slot out of its chain and give it back."""
    slot, bucket, channel = state.slot[c], state.bucket[c], state.channel[c]
    h = _hash(slot[s].line, len(bucket))
    if bucket[h] == s:
        bucket[h] = slot[s].next
    else:
        at = bucket[h]
        while slot[at].next != s:
            at = slot[at].next
        slot[at].next = slot[s].next
    state.unused[c, channel.free] = s
    channel.free += 1


@inlined_kernel
def _done(state: State, index: int, accepted: int, done: int) -> None:
    """Count a request that is done at ``done``; its latency counts if it is a read (``accepted`` >= 0)."""
    total = state.total[0]
    total.last_done = max(total.last_done, done)
    if index < total.watched:
        total.remaining -= 1
    at = index - total.first_index
    if 0 <= at < len(state.served):
        state.served[at, 1] = done
    if accepted >= 0:
        latency = done - accepted - 1
        total.latency += latency
        state.histogram[min(latency // BUCKET_CYCLES, BUCKETS - 1)] += 1


@inlined_kernel
def _move(state: State, now: int, write: int) -> None:
    """Count a line in the bin of its cycle; as time goes on, bins are joined in pairs and become twice as wide."""
    moved, total = state.moved, state.total[0]
    while now >> total.bin_bits >= BINS:
        total.bin_bits += 1
        for b in range(BINS // 2):
            for way in range(2):
                moved[b, way] = moved[2 * b, way] + moved[2 * b + 1, way]
        moved[BINS // 2 :] = 0
    moved[now >> total.bin_bits, write] += 1


@inlined_kernel
def _serve(rules: Rules, state: State, c: int, s: int, now: int) -> None:
    """Return what a read command brings to all who wait for it, or let a written line go."""
    channel, total, slot = state.channel[c], state.total[0], state.slot[c, s]
    _move(state, now, int(slot.write))
    if slot.write:
        total.undrained -= 1
        total.last_write = now
        _release(state, c, s)
        return
    done = now + rules.read_delay
    slot.issued = 1
    slot.done = done
    at = channel.first_return + channel.returns
    length = state.returning.shape[1]
    state.returning[c, at if at < length else at - length] = s
    channel.returns += 1
    total.unissued -= 1
    _done(state, slot.index, slot.accepted, done)
    w = slot.waiters
    while w >= 0:
        waiter = state.waiter[w]
        _done(state, waiter.index, waiter.accepted, done)
        following = waiter.next
        waiter.next = total.free_waiter
        total.free_waiter = w
        w = following


@inlined_kernel
def _issue(rules: Rules, state: State, c: int, q: int, now: int, command: int) -> None:
    """Issue a command of a bank's queue."""
    bank, queue, channel = state.bank[c, q], state.queue[c, q], state.channel[c]
    r = q >> rules.rank_bits
    entry = 0
    if command == READ:
        entry = bank.first_read
    elif command == WRITE:
        entry = bank.first_write
    s = queue[entry] & SLOTS
    _record(rules, state, now, command, c, q, queue[entry] >> ROW, state.slot[c, s].column)
    if command == ACTIVATE:
        _activate(rules, state, c, q, r, now, queue[0] >> ROW)
    elif command == PRECHARGE:
        _precharge(rules, state, c, q, r, now)
    else:
        if bank.queued == rules.bank_queue:
            channel.freed = q
        bank.queued -= 1
        for e in range(entry, bank.queued):
            queue[e] = queue[e + 1]
        channel.queued -= 1
        _read_or_write(rules, state, c, q, r, now, command == WRITE)
        _serve(rules, state, c, s, now)
    _summarise(rules, bank, queue)
    _wait(rules, state, c, q)


@inlined_kernel
def _wait(rules: Rules, state: State, c: int, q: int) -> None:
    """Set when a bank's queue is asked again."""
    if state.bank[c, q].queued == 0:
        state.wake[c, q] = FAR
    else:
        r = q >> rules.rank_bits
        state.wake[c, q] = _earliest(state.bank[c, q], state.group[c, q >> rules.bank_bits], state.rank[c, r])


@inlined_kernel
def _choose(rules: Rules, state: State, c: int, now: int) -> tuple[int, int]:
    """Ask the bank queues in turn, from the one after the last that was served; return bank and command."""
    channel, wake = state.channel[c], state.wake[c]
    per_rank = 1 << rules.rank_bits
    count = rules.ranks * per_rank
    low = channel.refreshing * per_rank
    high = low + per_rank if low >= 0 else low
    q = channel.pointer
    for _ in range(count):
        q += 1
        if q == count:
            q = 0
        if wake[q] <= now and not low <= q < high:
            bank, group, rank = (
                state.bank[c, q],
                state.group[c, q >> rules.bank_bits],
                state.rank[c, q >> rules.rank_bits],
            )
            command = _first_ready(bank, group, rank, now)
            if command != NOTHING:
                channel.pointer = q
                if command == PRECHARGE:
                    state.total[0].conflicts += 1
                return q, command
            wake[q] = _earliest(bank, group, rank)
    return 0, NOTHING


@inlined_kernel
def _refresh(rules: Rules, state: State, c: int, now: int) -> int:
    """Bring the refresh that is due nearer: close a bank of the rank, or refresh it; return the command."""
    channel = state.channel[c]
    per_rank = 1 << rules.rank_bits
    r = channel.refreshes % rules.ranks
    channel.refreshing = r
    rank, first = state.rank[c, r], r * per_rank
    q = _refresh_bank(state.bank[c], rank, first, per_rank, now)
    if q >= 0:
        _record(rules, state, now, PRECHARGE, c, q, -1, -1)
        _precharge(rules, state, c, q, r, now)
        _summarise(rules, state.bank[c, q], state.queue[c, q])
        _wait(rules, state, c, q)
        return PRECHARGE
    if q == -1:
        _record(rules, state, now, REFRESH, c, first, -1, -1)
        rank.activate = max(rank.activate, now + rules.refresh_time)
        rank.refresh = max(rank.refresh, now + rules.refresh_time)
        channel.refreshing = -1
        channel.refreshes += 1
        state.total[0].refreshes += 1
        return REFRESH
    return NOTHING


@inlined_kernel
def _drains(rules: Rules, channel: Record) -> bool:
    """Tell whether draining the writes begins: the buffer is full, or half-way so while nothing else is to do."""
    idle = channel.writes > rules.write_low and channel.queued == 0
    return channel.draining == 0 and bool(channel.writes >= rules.write_buffer or idle)


@inlined_kernel
def _push(rules: Rules, state: State, c: int, q: int, s: int) -> None:
    """Put a request at the end of its bank's queue."""
    bank, queue, slot = state.bank[c, q], state.queue[c, q], state.slot[c, s]
    queue[bank.queued] = slot.row << ROW | (IS_WRITE if slot.write else 0) | s
    bank.queued += 1
    state.channel[c].queued += 1
    _summarise(rules, bank, queue)
    _wait(rules, state, c, q)


@inlined_kernel
def _movable(rules: Rules, state: State, c: int, first: int, count: int, side: int) -> int:
    """Return the first waiting request from ``first`` on whose bank's queue has room, or ``count``."""
    waiting, bank = state.waiting[c, side], state.bank[c]
    at = first
    while at < count and bank[waiting[at] & ((1 << BANKS) - 1)].queued >= rules.bank_queue:
        at += 1
    return at


@inlined_kernel
def _schedule(rules: Rules, state: State, c: int) -> None:
    """Move the oldest request whose bank's queue has room.

    Those before ``read_from`` or ``write_from`` are known to have none, but for the bank that was ``freed`` just now.
    """
    channel = state.channel[c]
    if _drains(rules, channel):
        channel.draining = channel.writes
    side = 1 if channel.draining > 0 else 0
    waiting = state.waiting[c, side]
    first = channel.write_from if side else channel.read_from
    count = channel.writes if side else channel.reads
    at = first
    if channel.freed >= 0:
        at = 0
        while at < first and waiting[at] & ((1 << BANKS) - 1) != channel.freed:
            at += 1
        if side:
            channel.read_from = 0
        else:
            channel.write_from = 0
        channel.freed = -1
    again = at < first  # the freed bank is full again then, and what was known still holds
    if not again:
        at = _movable(rules, state, c, first, count, side)
        first = at
    if at < count:
        packed = waiting[at]
        for i in range(at, count - 1):
            waiting[i] = waiting[i + 1]
        count -= 1
        if again:
            first -= 1
        if side:
            channel.writes -= 1
            channel.draining -= 1
        else:
            channel.reads -= 1
        _push(rules, state, c, packed & ((1 << BANKS) - 1), packed >> BANKS)
    first = _movable(rules, state, c, first, count, side)
    if side:
        channel.write_from = first
    else:
        channel.read_from = first


@inlined_kernel
def _next_visit(rules: Rules, state: State, c: int, now: int) -> int:
    """Return the next cycle in which something can happen in a channel, if nothing arrives."""
    channel = state.channel[c]
    writes = channel.draining > 0
    if _drains(rules, channel) or (
        channel.write_from < channel.writes if writes else channel.read_from < channel.reads
    ):
        return now + 1
    per_rank = 1 << rules.rank_bits
    low = channel.refreshing * per_rank
    high = low + per_rank if low >= 0 else low
    when = (channel.refreshes + 1) * rules.refresh_interval
    if low >= 0:
        when = _refresh_ready(state.bank[c], state.rank[c, channel.refreshing], low, per_rank)
    wake = state.wake[c]
    for q in range(rules.ranks * per_rank):
        if wake[q] < when and not low <= q < high:
            wake[q] = _earliest(
                state.bank[c, q], state.group[c, q >> rules.bank_bits], state.rank[c, q >> rules.rank_bits]
            )
            when = min(when, wake[q])
    return int(max(when, now + 1))


@inlined_kernel
def _moves_data(command: int) -> bool:
    return READ <= command <= WRITE


@inlined_kernel
def _tick(rules: Rules, state: State, c: int, now: int) -> None:
    """One cycle of a channel: a command or two, then a request moves."""
    channel = state.channel[c]
    issued = NOTHING
    if (channel.refreshes + 1) * rules.refresh_interval <= now:
        issued = _refresh(rules, state, c, now)
    rounds = 2 if rules.dual_issue else 1
    for turn in range(rounds):
        if turn == 0 and issued != NOTHING:
            continue
        q, command = _choose(rules, state, c, now)
        if command == NOTHING:
            break
        if turn == 1 and _moves_data(issued) == _moves_data(command):
            break
        _issue(rules, state, c, q, now, command)
        state.total[0].dual += turn
        issued = command
    _schedule(rules, state, c)
    channel.wake = _next_visit(rules, state, c, now)


@inlined_kernel
def _return(state: State, c: int, now: int) -> None:
    """Forget the lines that have been read by now."""
    channel = state.channel[c]
    while channel.returns:
        s = state.returning[c, channel.first_return]
        if state.slot[c, s].done > now:
            return
        _release(state, c, s)
        channel.first_return += 1
        if channel.first_return == state.returning.shape[1]:
            channel.first_return = 0
        channel.returns -= 1


@inlined_kernel
def _forwarded_until(state: State, line: int) -> int:
    """Return until when a read of a line that the write buffer served is under way."""
    until = 0
    for at in range(len(state.forward)):
        if state.forward[at].line == line:
            until = max(until, state.forward[at].until)
    return until


@inlined_kernel
def _take(rules: Rules, state: State, now: int, address: int, write: bool) -> int:
    """Take a request in, or return when to try again: FAR if something must happen first; NOTHING: more waiters."""
    line = address >> rules.line_bits
    c = (line >> rules.channel_at) & (rules.channels - 1)
    channel, total = state.channel[c], state.total[0]
    if (channel.writes >= rules.write_buffer) if write else (channel.reads >= rules.read_queue):
        return FAR
    _return(state, c, now)
    bucket, slot = state.bucket[c], state.slot[c]
    h = _hash(line, len(bucket))
    found, s = -1, bucket[h]
    until = _forwarded_until(state, line) if write else 0
    while s >= 0:
        if slot[s].line == line:
            if write and not slot[s].write:
                return int(slot[s].done) if slot[s].issued else FAR
            if not slot[s].issued:
                found = s
        s = slot[s].next
    if until > now:
        return until
    index = total.next_index
    at = index - total.first_index
    if found >= 0 and not write and not slot[found].write:
        w = total.free_waiter
        if w < 0:
            return NOTHING
        waiter = state.waiter[w]
        total.free_waiter = waiter.next
        waiter.accepted = now
        waiter.index = index
        waiter.next = slot[found].waiters
        slot[found].waiters = w
        total.merged_reads += 1
    elif found >= 0 and not write:
        forward = state.forward[total.forwards % len(state.forward)]
        forward.line = line
        forward.until = now + 2
        total.forwards += 1
        total.forwarded += 1
        _done(state, index, now, now + 2)
    elif found >= 0:
        total.merged_writes += 1
        _done(state, index, -1, now + 2)
    else:
        channel.free -= 1
        s = state.unused[c, channel.free]
        new = slot[s]
        new.line = line
        new.row = (line >> rules.row_at) & (rules.rows - 1)
        new.column = (line >> rules.column_at) & (rules.columns - 1)
        rank = (line >> rules.rank_at) & (rules.ranks - 1)
        group = (line >> rules.group_at) & (rules.groups - 1)
        bank = (line >> rules.bank_at) & (rules.banks - 1)
        new.bank = (rank * rules.groups + group) * rules.banks + bank
        new.write = 1 if write else 0
        new.issued = 0
        new.accepted = now
        new.index = index
        new.waiters = -1
        new.next = bucket[h]
        bucket[h] = s
        full = state.bank[c, new.bank].queued >= rules.bank_queue
        if write:
            state.waiting[c, 1, channel.writes] = s << BANKS | new.bank
            if full and channel.write_from == channel.writes:
                channel.write_from += 1
            channel.writes += 1
            moves = channel.write_from < channel.writes if channel.draining else _drains(rules, channel)
            total.undrained += 1
            _done(state, index, -1, now + 2)
        else:
            state.waiting[c, 0, channel.reads] = s << BANKS | new.bank
            if full and channel.read_from == channel.reads:
                channel.read_from += 1
            channel.reads += 1
            moves = channel.draining == 0 and channel.read_from < channel.reads
            total.unissued += 1
        if moves:
            channel.wake = min(channel.wake, now + 1)
    if 0 <= at < len(state.served):
        state.served[at, 0] = now
    total.next_index += 1
    return now


@kernel
def advance(
    rules: Rules, state: State, arrival: Ints, address: Ints, write: Any, goal: int, until: int
) -> tuple[int, int]:
    """Take requests in, in order, and serve them, up to a goal.

    Args:
        rules: what the controller obeys.
        state: changed in place.
        arrival: (N,): the cycle from which each request waits to be taken; 0: as fast as the queues accept.
        address: (N,): bytes.
        write: (N,) bool.
        goal: one of TAKEN, SERVED, DRAINED and TIME; beyond the first, no more requests follow as far as is known.
        until: the last cycle to visit.

    Returns:
        How many were taken, and why it ended there.

    """
    state = State(
        borrow(state.channel),
        borrow(state.rank),
        borrow(state.group),
        borrow(state.bank),
        borrow(state.wake),
        borrow(state.queue),
        borrow(state.waiting),
        borrow(state.slot),
        borrow(state.bucket),
        borrow(state.unused),
        borrow(state.returning),
        borrow(state.waiter),
        borrow(state.forward),
        borrow(state.total),
        borrow(state.histogram),
        borrow(state.moved),
        borrow(state.log),
        borrow(state.served),
    )
    total = state.total[0]
    taken, count = 0, len(arrival)
    while True:
        if total.watched > 0 and total.remaining == 0:
            return taken, WATCHED
        now = total.now
        again = FAR
        while taken < count:
            if arrival[taken] > now:
                again = arrival[taken]
                break
            if total.taken == rules.accepts:
                again = now + 1
                break
            again = _take(rules, state, now, address[taken], write[taken])
            if again == NOTHING:
                return taken, MORE_WAITERS
            if again != now:
                break
            total.taken += 1
            taken += 1
        if taken == count:
            if goal == TAKEN:
                return taken, MORE_REQUESTS
            again = FAR
        for c in range(rules.channels):
            again = min(again, state.channel[c].wake)
        if taken == count and total.unissued == 0:
            served, drained = again > total.last_done, total.undrained == 0
            if (goal == SERVED and served) or (goal == DRAINED and drained):
                return taken, ENDED
        if again > until:
            return taken, PAUSED
        total.now = again
        total.taken = 0
        for c in range(rules.channels):
            if state.channel[c].wake <= again:
                _tick(rules, state, c, again)
