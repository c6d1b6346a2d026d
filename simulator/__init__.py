"""Skipper: a cycle-level simulator of accelerators that skip work.

>>> from simulator import load_trace, load_arch, simulate
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.accelerators import load_arch
    from simulator.library import load_trace
    from simulator.plans import PlanCache
    from simulator.simulation import simulate

__version__ = "0.1.0"
__all__ = ["PlanCache", "__version__", "load_arch", "load_trace", "simulate"]

_HOMES = {
    "PlanCache": "simulator.plans",
    "load_arch": "simulator.accelerators",
    "load_trace": "simulator.library",
    "simulate": "simulator.simulation",
}

# In a checkout the data folders stand beside the package; installed, they lie inside it.
if not (Path(__file__).parent / "arch_configs").is_dir():
    __path__.append(str(Path(__file__).parent.parent))


def __getattr__(name: str) -> Any:
    """Import the public names only when they are asked for: start-up stays short."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
