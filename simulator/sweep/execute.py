"""A sweep carried out: by processes of this machine or by a Dask cluster, resumed where it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from simulator.errors import InputError
from simulator.sweep.dataset import Dataset
from simulator.sweep.file import Named
from simulator.sweep.points import Point, Space
from simulator.sweep.rows import columns
from simulator.sweep.search import batches
from simulator.sweep.work import packed, run_chunk

CHUNK = 16
"""Points that a worker takes at once at most."""
AHEAD = 3
"""Chunks given out for each worker."""


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands."""

    done: int
    total: int
    resumed: int
    """Of those done, found in the dataset."""
    failed: int
    row: dict[str, Any] | None
    """The point that ended last."""


class Stop:
    """Set by a signal: what is running is finished, nothing more is begun."""

    asked = False


def carry_out(
    named: Named,
    text: str,
    out: Path,
    workers: int | None = None,
    cluster: str | None = None,
    plans: str = "",
    progress: Callable[[Progress], None] = lambda progress: None,
    stop: Stop | None = None,
) -> Dataset:
    """Run every point of a sweep that the dataset does not hold yet.

    Args:
        named: the sweep.
        text: its file's content, which every worker reads.
        out: folder of the dataset.
        workers: processes; as many as this machine has cores if not given.
        cluster: address of a Dask scheduler in the place of processes, ``slurm`` or ``kubernetes``.
        plans: folder of plans that workers share.
        progress: called at the beginning and after every point.
        stop: ends the sweep in order.

    Raises:
        InputError: nothing to run, another sweep in the folder, no such cluster, or a full disk.

    """
    space = Space(named)
    points = None if named.sweep.search else space.admitted()  # refused before anything is made
    with _executor(workers, cluster) as (executor, count):
        dataset = Dataset(out, columns(space), text)
        run = _Run(named, text, plans, executor, count, dataset, progress, stop or Stop())
        try:
            if points is not None:
                run.all(space, points)
            else:
                for batch in batches(space, dataset):
                    run.all(space, batch)
        except OSError as error:
            raise InputError(f"{out}: {error.strerror}; what is finished is kept, the same command goes on") from None
        finally:
            _closed(dataset)
    return dataset


def _closed(dataset: Dataset) -> None:
    try:
        dataset.close()
    except OSError:
        return  # a full disk; the journal is whole


class _Run:
    def __init__(
        self,
        named: Named,
        text: str,
        plans: str,
        executor: Executor,
        workers: int,
        dataset: Dataset,
        progress: Callable[[Progress], None],
        stop: Stop,
    ):
        self.arguments = (text, named.name, named.origin, plans)
        self.executor, self.workers, self.dataset, self.progress, self.stop = executor, workers, dataset, progress, stop
        self.done = self.total = self.resumed = self.failed = 0

    def all(self, space: Space, points: Sequence[Point]) -> None:
        """Run points, those that are finished left out."""
        left = [point for point in points if point.digest not in self.dataset.finished]
        self.total += len(points)
        self.resumed += len(points) - len(left)
        self.done += len(points) - len(left)
        self._tell(None)
        chunks = _chunks(space.ordered(left), self.workers)
        waiting: set[Future[list[dict[str, Any]]]] = set()
        try:
            for chunk in chunks:
                if self.stop.asked:
                    break
                waiting.add(self.executor.submit(run_chunk, *self.arguments, packed(chunk)))
                while len(waiting) >= AHEAD * self.workers:
                    self._collect(waiting)
            while waiting and not self.stop.asked:
                self._collect(waiting)
        except BrokenProcessPool:
            raise InputError(
                "a worker process ended (memory may be short); what is finished is kept, the same command goes on"
            ) from None
        finally:
            self._end(waiting)

    def _collect(self, waiting: set[Future[list[dict[str, Any]]]]) -> None:
        future = next(as_completed(waiting))
        waiting.remove(future)
        for row in future.result():
            self.dataset.add(row)
            self.done += 1
            self.failed += row["status"] == "failed"
            self._tell(row)

    def _end(self, waiting: set[Future[list[dict[str, Any]]]]) -> None:
        """Cancel what has not begun, and keep what is being finished."""
        for future in waiting:
            future.cancel()
        for future in waiting:
            if self.stop.asked and not future.cancelled():
                for row in future.result():
                    self.dataset.add(row)

    def _tell(self, row: dict[str, Any] | None) -> None:
        self.progress(Progress(self.done, self.total, self.resumed, self.failed, row))


def _chunks(groups: list[list[Point]], workers: int) -> Iterator[list[Point]]:
    """Yield points that share plans together, in pieces that leave work for all workers."""
    total = sum(map(len, groups))
    size = max(1, min(CHUNK, total // (4 * workers)))
    for group in groups:
        for begin in range(0, len(group), size):
            yield group[begin : begin + size]


@contextmanager
def _executor(workers: int | None, cluster: str | None) -> Iterator[tuple[Executor, int]]:
    if cluster is not None:
        from simulator.sweep.cluster import cluster_executor

        with cluster_executor(cluster, workers) as found:
            yield found
        return
    count = workers or len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_worker)
    try:
        yield pool, count
    finally:
        pool.shutdown(cancel_futures=True)


def _worker() -> None:
    """Let signals reach the parent alone, which ends its workers in order."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
