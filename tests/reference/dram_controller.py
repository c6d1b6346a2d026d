"""A DRAM controller stepped cycle by cycle: every bank remembers when each kind of command may come next.

Written from the rules of DRAMsim3's controller and of the driver that replays a list of requests; nothing is skipped,
nothing is packed, and every distance is looked up by what two commands have in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.hardware.dram_timing import Dram

Place = tuple[int, int, int, int, int, int]
"""Channel, rank, bank group, bank, row, column."""
Line = tuple[int, str, int, int, int, int, int, int]
"""Cycle and command, then the place; −1 where a command has none."""

SAME_BANK, SAME_GROUP, SAME_RANK, OTHER_RANK = range(4)


@dataclass(eq=False)
class Request:
    index: int
    line: int
    place: Place
    write: bool
    accepted: int = 0
    done: int = -1


@dataclass(eq=False)
class Bank:
    row: int = -1
    hits: int = 0
    queue: list[Request] = field(default_factory=list)
    ready: dict[str, int] = field(default_factory=dict)
    """Earliest cycle of each kind of command."""


def place(line: int, dram: Dram) -> Place:
    """Cut a line's number by the mapping, from its lowest bits up."""
    o = dram.organisation
    sizes = {
        "ch": o.channels, "ra": o.ranks, "bg": o.bank_groups, "ba": o.banks_per_group, "ro": o.rows,
        "co": o.columns // o.burst_length,
    }  # fmt: skip
    parts = {}
    mapping = dram.controller.mapping
    for name in reversed([mapping[i : i + 2] for i in range(0, 12, 2)]):
        line, parts[name] = divmod(line, sizes[name])
    return tuple(parts[name] for name in sizes)  # type: ignore[return-value]


def distances(dram: Dram) -> dict[tuple[str, int], dict[str, int]]:
    """Return after which command, and how near, which commands may come how many cycles later."""
    t, o = dram.timing, dram.organisation
    burst = o.burst_length // o.data_rate
    rl, wl = t.AL + t.CL, t.AL + t.CWL
    ccd, ccd_write, wtr, rrd = t.tCCD_L, t.tCCD_L_WR, t.tWTR_L, t.tRRD_L
    if o.bank_groups == 1:
        ccd, ccd_write, wtr, rrd = t.tCCD_S, t.tCCD_S, t.tWTR_S, t.tRRD_S
    turn = rl + burst - wl + t.tRTRS
    write_to_precharge = wl + burst + t.tWR
    near = {
        "read": {"read": max(burst, ccd), "write": turn},
        "write": {"read": wl + burst + wtr, "write": max(burst, ccd_write)},
    }
    rank = {
        "read": {"read": max(burst, t.tCCD_S), "write": turn},
        "write": {"read": wl + burst + t.tWTR_S, "write": max(burst, t.tCCD_S)},
    }
    other = {
        "read": {"read": burst + t.tRTRS, "write": turn},
        "write": {"read": wl + burst + t.tRTRS - rl, "write": burst},
    }
    closing = {
        "read": {
            "activate": t.AL + burst + t.tRTP + t.tRP,
            "refresh": t.AL + t.tRTP + t.tRP,
        },
        "write": {"activate": write_to_precharge + t.tRP, "refresh": write_to_precharge + t.tRP},
    }
    precharge = {"read": {"precharge": t.AL + t.tRTP}, "write": {"precharge": write_to_precharge}}
    closed = dram.controller.page == "closed"
    rules: dict[tuple[str, int], dict[str, int]] = {}
    for command in ("read", "write"):
        rules[command, SAME_BANK] = closing[command] if closed else near[command] | precharge[command]
        rules[command, SAME_GROUP] = near[command]
        rules[command, SAME_RANK] = rank[command]
        rules[command, OTHER_RANK] = other[command]
    rules["activate", SAME_BANK] = {
        "activate": t.tRAS + t.tRP, "read": t.tRCDRD - t.AL, "write": t.tRCDWR - t.AL, "precharge": t.tRAS,
    }  # fmt: skip
    rules["activate", SAME_GROUP] = {"activate": rrd}
    rules["activate", SAME_RANK] = {"activate": t.tRRD_S}
    rules["precharge", SAME_BANK] = {"activate": t.tRP, "refresh": t.tRP}
    rules["precharge", SAME_GROUP] = rules["precharge", SAME_RANK] = {"precharge": t.tPPD}
    rules["refresh", SAME_BANK] = {"activate": t.tRFC, "refresh": t.tRFC}
    return rules


class Channel:
    def __init__(self, number: int, dram: Dram, log: list[Line]) -> None:
        o = dram.organisation
        self.number, self.dram, self.log, self.rules = number, dram, log, distances(dram)
        self.places = [
            (r, g, b)
            for r in range(o.ranks) for g in range(o.bank_groups) for b in range(o.banks_per_group)
        ]  # fmt: skip
        self.banks = [Bank() for _ in self.places]
        self.reads: list[Request] = []
        self.writes: list[Request] = []
        self.pending: list[Request] = []
        """Reads without their command yet, merged ones included."""
        self.buffered: list[Request] = []
        """Writes without their command yet."""
        self.pointer = self.draining = 0
        self.due: list[int] = []
        self.refreshing: int | None = None
        self.activated: list[list[int]] = [[] for _ in range(o.ranks)]
        self.row_hits = self.active = self.idle = 0

    # What may be issued

    def ready(self, bank: Bank, command: str, now: int) -> bool:
        if command == "activate":
            rank = self.places[self.banks.index(bank)][0]
            recent = [then for then in self.activated[rank] if now < then + self.dram.timing.tFAW]
            if len(recent) >= 4:
                return False
        return now >= bank.ready.get(command, 0)

    def first_ready(self, bank: Bank, now: int) -> tuple[str, Request] | None:
        """Go through a bank's queue in order."""
        scheduler = self.dram.controller.scheduler
        for i, request in enumerate(bank.queue):
            if scheduler == "fcfs" and i > 0:
                return None
            if bank.row < 0:
                command = "activate"
            elif bank.row == request.place[4]:
                command = "write" if request.write else "read"
            else:
                command = "precharge"
            if not self.ready(bank, command, now):
                continue
            if command == "precharge":
                hits_wait = any(other.place[4] == bank.row for other in bank.queue)
                capped = scheduler == "fr_fcfs_cap" and bank.hits >= self.dram.controller.row_hit_cap
                if i > 0 or (hits_wait and not capped and scheduler != "fcfs"):
                    continue
            return command, request
        return None

    def choose(self, now: int) -> tuple[Bank, str, Request] | None:
        for _ in self.banks:
            self.pointer = (self.pointer + 1) % len(self.banks)
            if self.places[self.pointer][0] == self.refreshing:
                continue
            bank = self.banks[self.pointer]
            found = self.first_ready(bank, now)
            if found:
                return bank, *found
        return None

    # What it does

    def issue(self, bank: Bank, command: str, now: int, request: Request | None) -> None:
        rank, group, number = self.places[self.banks.index(bank)]
        row, column = request.place[4:] if request else (-1, -1)
        self.log.append((now, command, self.number, rank, group, number, row, column))
        closed = self.dram.controller.page == "closed"
        if command == "activate":
            bank.row = row
            self.activated[rank].append(now)
        elif command == "precharge":
            bank.row, bank.hits = -1, 0
        else:
            assert request is not None
            assert bank.row == row
            self.row_hits += bank.hits > 0
            bank.hits += 1
            if closed:
                bank.row, bank.hits = -1, 0
            bank.queue.remove(request)
            self.serve(request, now)
        for (other_rank, other_group, other_number), other in zip(self.places, self.banks, strict=True):
            if other_rank != rank:
                near = OTHER_RANK
            elif other_group != group:
                near = SAME_RANK
            else:
                near = SAME_GROUP if other_number != number else SAME_BANK
            for following, cycles in self.rules.get((command, near), {}).items():
                other.ready[following] = max(other.ready.get(following, 0), now + cycles)

    def serve(self, request: Request, now: int) -> None:
        if request.write:
            self.buffered.remove(request)
            return
        t, o = self.dram.timing, self.dram.organisation
        for read in [read for read in self.pending if read.line == request.line]:
            read.done = now + t.AL + t.CL + o.burst_length // o.data_rate
            self.pending.remove(read)

    def refresh(self, now: int) -> str | None:
        """Close the open banks of the rank whose turn it is, then refresh it."""
        rank = self.refreshing = self.due[0]
        banks = [bank for place, bank in zip(self.places, self.banks, strict=True) if place[0] == rank]
        for bank in banks:
            if bank.row >= 0 and self.ready(bank, "precharge", now):
                self.issue(bank, "precharge", now, None)
                return "precharge"
        if any(bank.row >= 0 or not self.ready(bank, "refresh", now) for bank in banks):
            return None
        self.log.append((now, "refresh", self.number, rank, -1, -1, -1, -1))
        for bank in banks:
            for following, cycles in self.rules["refresh", SAME_BANK].items():
                bank.ready[following] = max(bank.ready.get(following, 0), now + cycles)
        self.due.pop(0)
        self.refreshing = None
        return "refresh"

    # A cycle

    def tick(self, now: int) -> None:
        o, t, c = self.dram.organisation, self.dram.timing, self.dram.controller
        interval = t.tREFI // o.ranks
        if c.refresh == "rank" and now > 0 and now % interval == 0:
            self.due.append((now // interval - 1) % o.ranks)
        issued = self.refresh(now) if self.due else None
        if issued is None:
            found = self.choose(now)
            if found:
                bank, issued, request = found
                self.issue(bank, issued, now, request)
        if issued is not None and c.dual_issue:
            found = self.choose(now)
            data = ("read", "write")
            if found and (found[1] in data) != (issued in data):
                self.issue(found[0], found[1], now, found[2])
        for rank in range(o.ranks):
            if any(bank.row >= 0 for place, bank in zip(self.places, self.banks, strict=True) if place[0] == rank):
                self.active += 1
            else:
                self.idle += 1
        self.schedule()

    def schedule(self) -> None:
        c = self.dram.controller
        if self.draining == 0:
            empty = all(not bank.queue for bank in self.banks)
            if len(self.writes) >= c.write_buffer or (len(self.writes) > c.write_low and empty):
                self.draining = len(self.writes)
        waiting = self.writes if self.draining else self.reads
        for request in waiting:
            bank = self.banks[self.places.index(request.place[1:4])]
            if len(bank.queue) < c.bank_queue:
                self.draining -= request.write
                bank.queue.append(request)
                waiting.remove(request)
                return

    def accepts(self, write: bool) -> bool:
        c = self.dram.controller
        return len(self.writes) < c.write_buffer if write else len(self.reads) < c.read_queue

    def add(self, request: Request, now: int) -> None:
        request.accepted = now
        buffered = any(write.line == request.line for write in self.buffered)
        if request.write:
            request.done = now + 2
            if not buffered:
                self.writes.append(request)
                self.buffered.append(request)
        elif buffered:
            request.done = now + 2
        else:
            if all(read.line != request.line for read in self.pending):
                self.reads.append(request)
            self.pending.append(request)


@dataclass(frozen=True)
class Replayed:
    cycles: int
    commands: list[Line]
    times: list[tuple[int, int]]
    row_hits: int
    active: int
    idle: int


def replay(arrival: list[int], address: list[int], write: list[bool], dram: Dram) -> Replayed:
    """Step all channels until the last request has called back."""
    line_bytes = dram.organisation.bus_width // 8 * dram.organisation.burst_length
    log: list[Line] = []
    channels = [Channel(number, dram, log) for number in range(dram.organisation.channels)]
    requests = []
    for index, byte in enumerate(address):
        line = byte // line_bytes
        requests.append(Request(index, line, place(line, dram), write[index]))
    waiting, under_way, now = list(requests), list[Request](), 0
    while waiting or under_way:
        under_way = [request for request in under_way if request.done < 0 or request.done > now]
        for channel in channels:
            channel.tick(now)
        for _ in range(dram.controller.accepts):
            if not waiting or arrival[waiting[0].index] > now:
                break
            request = waiting[0]
            channel = channels[request.place[0]]
            read_first = any(other.line == request.line and not other.write for other in under_way)
            if not channel.accepts(request.write) or (request.write and read_first):
                break
            channel.add(waiting.pop(0), now)
            under_way.append(request)
        now += 1
    return Replayed(
        now,
        log,
        [(request.accepted, request.done) for request in requests],
        sum(channel.row_hits for channel in channels),
        sum(channel.active for channel in channels),
        sum(channel.idle for channel in channels),
    )
