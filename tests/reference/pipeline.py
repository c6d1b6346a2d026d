"""Tiles through DMA engine, stages and buffers, stepped cycle by cycle: the slow twin of the engine.

Everything is a counter. In each cycle the actors are asked again and again whether they can begin something, until
none can; then time moves on by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Actor:
    """A stage or the DRAM channel: busy until ``until``, then looking for its next job."""

    until: int = 0
    job: int = -1
    waited: dict[str, int] = field(default_factory=lambda: {"busy": 0, "starved": 0, "blocked": 0, "fill_drain": 0})


def pipeline(
    loads: list[int], delay: int, stages: list[list[int]], stores: list[int], depth: int
) -> tuple[int, list[dict[str, int]], dict[str, int]]:
    """Play tiles and return the total, what each stage did, and what the channel did, in cycles.

    loads[i], stores[i]: cycles that tile i holds the channel; delay: from the end of a load that moved something
    until its data is there; stages[s][i]: cycles of tile i in stage s.
    """
    tiles = len(loads)
    jobs = []  # the DMA engine's descriptors: load i, then store i - depth
    for i in range(tiles + depth):
        if i < tiles:
            jobs.append(("load", i))
        if i >= depth:
            jobs.append(("store", i - depth))
    channel, actors = Actor(), [Actor() for _ in stages]
    arrives_at: dict[int, int] = {}
    passed = [-1] * len(stages)  # last tile that left each stage
    stored = loaded = -1
    now = 0
    while True:
        progress = True
        while progress:
            progress = False
            # the channel
            if channel.until <= now and channel.job >= 0:
                kind, tile = jobs[channel.job]
                if kind == "load" and loaded < tile:
                    loaded, progress = tile, True
                    arrives_at[tile] = now + (delay if loads[tile] else 0)
                if kind == "store" and stored < tile:
                    stored, progress = tile, True
            if channel.until <= now and channel.job + 1 < len(jobs):
                kind, tile = jobs[channel.job + 1]
                ready = passed[-1] >= (tile - depth if kind == "load" else tile)
                if ready:
                    channel.job += 1
                    channel.until = now + (loads if kind == "load" else stores)[tile]
                    progress = True
            # the stages
            for s, actor in enumerate(actors):
                if actor.until <= now and actor.job > passed[s]:
                    passed[s], progress = actor.job, True
                tile = actor.job + 1
                if actor.until <= now and tile < tiles:
                    there = arrives_at.get(tile, now + 1) <= now if s == 0 else passed[s - 1] >= tile
                    room = s < len(stages) - 1 or stored >= tile - depth
                    if there and room:
                        actor.job, actor.until, progress = tile, now + stages[s][tile], True
        if stored == tiles - 1 and all(p == tiles - 1 for p in passed):
            break
        # what each does in the cycle that begins now
        for s, actor in enumerate(actors):
            tile = actor.job + 1
            if actor.until > now:
                actor.waited["busy"] += 1
            elif tile >= tiles:
                actor.waited["fill_drain"] += 1
            elif not (arrives_at.get(tile, now + 1) <= now if s == 0 else passed[s - 1] >= tile):
                actor.waited["starved" if tile else "fill_drain"] += 1
            else:
                actor.waited["blocked"] += 1
        if channel.until > now:
            channel.waited["busy"] += 1
        elif channel.job + 1 >= len(jobs):
            channel.waited["fill_drain"] += 1
        else:
            channel.waited["blocked" if jobs[channel.job + 1][0] == "load" else "starved"] += 1
        now += 1
    return now, [actor.waited for actor in actors], channel.waited
