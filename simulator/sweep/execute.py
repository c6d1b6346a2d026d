"""A sweep carried out: by processes of this machine or by a Dask cluster, resumed where it was."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.memory import SIMPLE
from simulator.plans import PlanStore
from simulator.sweep.dataset import Dataset, Row, read_frame
from simulator.sweep.file import Named, read_sweep
from simulator.sweep.jobs import Batch, read_batch
from simulator.sweep.points import Space
from simulator.sweep.pool import Pool
from simulator.sweep.rows import lost_point
from simulator.sweep.runs import Point, Source
from simulator.sweep.search import batches, require_search
from simulator.sweep.work import run_chunk

if TYPE_CHECKING:
    import pandas as pd

MOST_AT_ONCE = 512
"""Points that a worker is told of at once, so that telling it of large groups again and again costs no more."""


@dataclass(frozen=True)
class Progress:
    """Where a sweep stands."""

    done: int
    total: int
    resumed: int
    """Of those done, found in the dataset."""
    failed: int
    """Of those done."""
    row: dict[str, Any] | None
    """The point that ended last."""


class Stop:
    """Set by a signal: what is running is finished, nothing more is begun."""

    asked = False
    signal = 0
    """Its number, where one asked."""
    begun = False
    """Whether anything was given out; until then there is nothing to finish, and who asks need not wait."""


def sweep(
    file: str | Path,
    out: str | Path,
    workers: int | None = None,
    cluster: str | None = None,
    plans: str | Path = "",
    retry_failed: bool = False,
) -> pd.DataFrame:
    """Run every point of a sweep file that the folder does not hold yet; return all points, see `read_frame`.

    Args:
        file: the sweep.
        out: folder of the dataset.
        workers: processes; as many as this machine has cores if not given.
        cluster: address of a Dask scheduler in the place of processes, ``slurm`` or ``kubernetes``.
        plans: folder of plans that workers, and other sweeps, share.
        retry_failed: run points that failed again.

    Raises:
        InputError: as `read_sweep` and `carry_out`.

    """
    carry_out(read_sweep(file), Path(out), workers, cluster, str(plans), retry_failed=retry_failed)
    return read_frame(out)


def batch(
    file: str | Path,
    out: str | Path,
    workers: int | None = None,
    cluster: str | None = None,
    plans: str | Path = "",
    memory: str = SIMPLE,
    retry_failed: bool = False,
) -> pd.DataFrame:
    """Run every job of a file that the folder does not hold yet; return all, one row for each name, see `sweep`.

    Args:
        file: the jobs, CSV or JSON Lines.
        out: folder of the dataset.
        workers: as of `sweep`.
        cluster: as of `sweep`.
        plans: as of `sweep`.
        memory: of jobs that name none.
        retry_failed: as of `sweep`.

    Raises:
        InputError: as `read_batch` and `carry_out`.

    """
    carry_out(read_batch(file, memory), Path(out), workers, cluster, str(plans), retry_failed=retry_failed)
    return read_frame(out)


def carry_out(
    named: Named | Batch,
    out: Path,
    workers: int | None = None,
    cluster: str | None = None,
    plans: str = "",
    progress: Callable[[Progress], None] = lambda progress: None,
    stop: Stop | None = None,
    retry_failed: bool = False,
) -> Progress:
    """Run every point of a sweep, or every job of a batch, that the dataset does not hold yet.

    Args:
        named: the sweep, or the batch.
        out: folder of the dataset.
        workers: processes; as many as this machine has cores if not given.
        cluster: address of a Dask scheduler in the place of processes, ``slurm`` or ``kubernetes``.
        plans: folder of plans that workers share.
        progress: called at the beginning and after every point.
        stop: ends the sweep in order.
        retry_failed: run points that failed again.

    Returns:
        Where the sweep stands.

    Raises:
        InputError: nothing to run, another sweep in the folder, no such cluster, or a full disk.

    """
    return run_all(*_generations(named), out, workers, cluster, plans, progress, stop, retry_failed)


Generations = Callable[[Dataset], Iterable[Sequence[Point]]]


def _generations(named: Named | Batch) -> tuple[Source, Generations]:
    """Return where points come from, and what gives them; what cannot be run is refused before anything is made."""
    if isinstance(named, Batch):
        return named, lambda _: (named.points,)
    space = Space(named)
    if named.sweep.search:
        require_search(space)
        return space, partial(batches, space)
    points = space.admitted()
    return space, lambda _: (points,)


def run_all(
    source: Source,
    generations: Generations,
    out: Path,
    workers: int | None,
    cluster: str | None,
    plans: str,
    progress: Callable[[Progress], None],
    stop: Stop | None,
    retry_failed: bool,
) -> Progress:
    """Run the points of a source that the dataset does not hold yet, see `carry_out`.

    Args:
        source: where they come from.
        generations: gives the points, those that depend on the rows of others after them.
        out: folder of the dataset.
        workers: processes.
        cluster: Dask in their place.
        plans: folder of plans that workers share.
        progress: called at the beginning and after every point.
        stop: ends it in order.
        retry_failed: run points that failed again.

    """
    if plans:
        PlanStore(Path(plans)).remove_partial()
    with _executor(workers, cluster) as (executor, count):
        dataset = Dataset(out, source.columns, source.kept, source.made_with)
        run = _Running(source, plans, executor, count, dataset, progress, stop or Stop())
        try:
            if retry_failed:
                dataset.forget_failed()
            for points in generations(dataset):
                run.all(points)
                if run.stop.asked:
                    break
        except BaseException:
            with suppress(InputError, OSError):
                dataset.close()
            raise
        dataset.close()
    return run.at(None)


Chunk = list[Point]


class _Running:
    def __init__(
        self,
        source: Source,
        plans: str,
        executor: Executor,
        workers: int,
        dataset: Dataset,
        progress: Callable[[Progress], None],
        stop: Stop,
    ):
        self.source, self.plans = source, plans
        self.executor, self.workers, self.dataset, self.progress, self.stop = executor, workers, dataset, progress, stop
        self.groups: deque[Chunk] = deque()
        """Points that share matches, not given out yet."""
        self.waiting: dict[Future[list[Row]], Chunk] = {}
        self.seen: set[str] = set()
        self.total = self.done = self.resumed = 0

    def all(self, points: Sequence[Point]) -> None:
        """Run points, those that are finished left out."""
        left = []
        for point in (point for point in points if point.digest not in self.seen):
            self.seen.add(point.digest)
            rows, unfinished = len(self.source.heads(point)), len(self._unfinished(point))
            self.total += rows
            self.resumed += rows - unfinished
            self.done += rows - unfinished
            left += [point] if unfinished else []
        self.progress(self.at(None))
        self.groups.extend(self.source.ordered(left) if left else ())
        try:
            while (self.groups or self.waiting) and not self.stop.asked:
                while self.groups and len(self.waiting) < self.workers:
                    self._submit(self._next())
                if self.waiting:
                    self._collect()
        except KeyboardInterrupt:
            self.waiting.clear()  # nobody waits for what is running
            raise
        finally:
            self._end()

    def _next(self) -> Chunk:
        """Take a whole group, whose points a worker matches once; of the last ones a part for each idle worker."""
        chunk = self.groups.popleft()
        parts = (self.workers - len(self.waiting)) // (len(self.groups) + 1)
        size = -(-len(chunk) // max(1, parts))
        if chunk[size:]:
            self.groups.appendleft(chunk[size:])
        return chunk[:size]

    def _unfinished(self, point: Point) -> list[Row]:
        """Return the heads of a point's rows that the dataset does not hold."""
        return [head for head in self.source.heads(point) if head["point"] not in self.dataset.finished]

    def _submitted(self, chunk: Chunk) -> Future[list[Row]]:
        """Give out the first points of a chunk: a worker does not come further in its turn."""
        return self.executor.submit(run_chunk, self.plans, [self.source.run(point) for point in chunk[:MOST_AT_ONCE]])

    def _submit(self, chunk: Chunk) -> None:
        self.stop.begun = True
        try:
            future = self._submitted(chunk)
        except BrokenProcessPool:  # noticed late
            self._again(chunk)
        else:
            self.waiting[future] = chunk

    def _collect(self) -> None:
        future = next(as_completed(self.waiting))
        chunk = self.waiting.pop(future)
        try:
            rows = future.result()
        except InputError:
            raise
        except (BrokenProcessPool, CancelledError):
            self._again(chunk)
        except Exception as error:  # Dask's own: the chunk killed several workers, or the cluster is gone
            if isinstance(self.executor, Pool) or type(error).__name__ != "KilledWorker":
                raise InputError(
                    f"a worker cannot go on ({type(error).__name__}: {error}); "
                    "what is finished is kept, the same command goes on where it was"
                ) from None
            self._again(chunk)
        else:
            self._keep(chunk, rows)
            if rest := chunk[len(rows) :]:
                self.groups.appendleft(rest)  # for the worker that is idle now: it holds their matches

    def _again(self, chunk: Chunk) -> None:
        """Run chunks that may have killed a worker one after the other."""
        chunks = [chunk, *self.waiting.values()] if isinstance(self.executor, Pool) else [chunk]
        if isinstance(self.executor, Pool):
            self.waiting.clear()
            self.executor.renew()
        for each in chunks:
            self._alone(each)

    def _alone(self, chunk: Chunk) -> None:
        """Run a chunk while nothing else runs; the point of it that kills its worker is found by halves, and failed."""
        while chunk and not self.stop.asked:
            try:
                rows = self._submitted(chunk).result()
            except InputError:
                raise
            except Exception:
                if isinstance(self.executor, Pool):
                    self.executor.renew()
                if len(chunk) > 1:
                    half = len(chunk) // 2
                    self._alone(chunk[:half])
                    chunk = chunk[half:]
                    continue
                rows = [lost_point()]
            self._keep(chunk, rows)
            chunk = chunk[len(rows) :]

    def _keep(self, chunk: Chunk, found: list[Row]) -> None:
        """Add the rows of points, of the first of a chunk, from what a worker found of them."""
        empty = dict.fromkeys(self.source.columns)
        pairs = zip(chunk, found, strict=False)
        rows = [{**empty, **head, **tail} for point, tail in pairs for head in self._unfinished(point)]
        self.dataset.add(rows)
        for row in rows:
            self.done += 1
            self.progress(self.at(row))

    def _end(self) -> None:
        """Cancel what has not begun, and keep what is being finished."""
        for future in self.waiting:
            future.cancel()
        for future, chunk in self.waiting.items() if self.stop.asked else ():
            with suppress(CancelledError, BrokenProcessPool):
                self._keep(chunk, future.result())
        self.waiting.clear()
        self.groups.clear()

    def at(self, row: Row | None) -> Progress:
        """Return where the sweep stands."""
        return Progress(self.done, self.total, self.resumed, len(self.dataset.failed), row)


@contextmanager
def _executor(workers: int | None, cluster: str | None) -> Iterator[tuple[Executor, int]]:
    if cluster is not None:
        from simulator.sweep.cluster import cluster_executor

        with cluster_executor(cluster, workers) as found:
            yield found
        return
    count = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with Pool(count) as pool:
        yield pool, count
