"""Dask clusters: one that runs, by its address, or one that is started by its own classes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, cast

from simulator.errors import InputError

CLUSTERS = {"slurm": ("dask_jobqueue", "SLURMCluster"), "kubernetes": ("dask_kubernetes.operator", "KubeCluster")}
"""Where Dask's own classes are; their configuration files say the rest."""
WAIT = "15s"
"""For a scheduler to answer."""


@contextmanager
def cluster_executor(cluster: str, workers: int | None) -> Iterator[tuple[Executor, int]]:
    """Yield an executor on a cluster, and how many workers it has.

    Raises:
        InputError: Dask is not installed, there is no such cluster, or it does not answer.

    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--cluster: needs Dask: pip install 'skipper-simulator[cluster]'") from None
    with ExitStack() as ending:
        started = _started(cluster, workers) if cluster in CLUSTERS else None
        if started is not None:
            ending.callback(started.close)
        try:
            client = ending.enter_context(cast(Any, Client)(cluster if started is None else started, timeout=WAIT))
            client.wait_for_workers(1, timeout=300 if started else 15)
            count = max(1, sum(client.nthreads().values()))
        except (OSError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or "no worker came"
            raise InputError(f"--cluster {cluster}: no Dask scheduler with workers answers there ({reason})") from None
        yield client.get_executor(), count


def _started(cluster: str, workers: int | None) -> Any:
    module, name = CLUSTERS[cluster]
    try:
        kind = getattr(import_module(module), name)
    except ImportError:
        raise InputError(f"--cluster {cluster}: needs the package {module.split('.')[0]}") from None
    try:
        made = kind()
        made.scale(workers or 1)
    except Exception as error:  # whatever the cluster's own class finds wrong with its configuration
        raise InputError(f"--cluster {cluster}: cannot be started ({' '.join(str(error).split())})") from None
    return made
