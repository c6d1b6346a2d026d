"""The workload library: shape tables of well-known models, written compactly, made into traces."""

from simulator.library.build import Workload
from simulator.library.document import list_workloads, read_workload
from simulator.library.load import load_trace, load_workload

__all__ = ["Workload", "list_workloads", "load_trace", "load_workload", "read_workload"]
