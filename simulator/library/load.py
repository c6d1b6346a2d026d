"""A trace by any name: a file, a shipped trace, a workload with its parameters, a table of densities."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from simulator.errors import InputError, nearest
from simulator.library.build import Workload, build
from simulator.library.densities import part, read_densities, table_trace
from simulator.library.document import SUFFIXES, list_workloads, read_workload
from simulator.library.expression import Number
from simulator.library.settings import parameter_names
from simulator.synthesis.profile import read_profile, replay
from simulator.trace import Trace, list_traces
from simulator.trace import load_trace as load_file

DENSITIES = "densities"
"""The parameter of every workload that names a table of measured densities."""
LAYERS = "layers"
"""How the names of a table's layers begin, where it holds those of several networks."""
PROFILE = "profile"
"""The parameter of every workload that names a profile, from which its masks are drawn."""
_OF_FILES = (DENSITIES, LAYERS, PROFILE)
_PREFIX = "workload."
_OF_TABLE = (LAYERS, "seed", "padded", "density")

Settings = Mapping[str, str | Number]


def load_trace(path_or_name: str | os.PathLike[str], settings: Settings | None = None) -> Trace:
    """Open a trace, or make one from a workload.

    Args:
        path_or_name: a trace file, a workload's ``.yaml`` file, a ``.csv`` table of densities with shapes, or the name
            of a shipped trace or workload.
        settings: parameters of a workload, such as ``{"seq": 512}``; ``densities`` names a table of densities and
            ``layers`` how the names of its layers begin, ``profile`` a profile. Of a table itself: ``layers``,
            ``seed``, ``padded`` and ``density``, see `simulator.library.densities.table_trace`.

    Raises:
        InputError: one sentence that names the file and what is wrong with it.

    """
    name, given = os.fspath(path_or_name), dict(settings or {})
    if is_workload(name):
        return load_workload(name, given).trace
    if name.endswith(".csv"):
        _require_known(name, given, _OF_TABLE)
        seed = str(given.get("seed", 0))
        if not seed.isdecimal():
            raise InputError(f"{name}: parameter 'seed' is '{seed}', expected a whole number of at least 0")
        padded = str(given.get("padded", 0))
        if padded not in ("0", "1"):
            raise InputError(f"{name}: parameter 'padded' is '{padded}', expected 1, or 0 for none")
        density = given.get("density")
        if density is not None:
            density = part(str(density), f"{name}: parameter 'density'")
        return table_trace(name, str(given.get(LAYERS, "")), int(seed), padded == "1", density)
    if given:
        raise InputError(f"{name}: a trace has no parameters, only a workload has; '{next(iter(given))}' cannot be set")
    try:
        return load_file(path_or_name)
    except InputError as error:
        if Path(name).name != name or os.path.exists(name):
            raise
        known = (*list_traces(), *list_workloads())
        if "neither a file" not in str(error):
            raise
        raise InputError(
            f"'{name}' is neither a file ({Path(name).absolute()}) nor a shipped trace or workload"
            f"{nearest(name.removesuffix('.safetensors'), known).partition('; known')[0]}; 'skipper list' names them"
        ) from None


def load_workload(name_or_path: str, settings: Settings | None = None) -> Workload:
    """Make a workload with parameters, and count what it learns.

    Raises:
        InputError: as `simulator.library.document.read_workload` and `simulator.library.build.build`.

    """
    given = dict(settings or {})
    document, name, origin = read_workload(name_or_path)
    table, prefix, profile = given.pop(DENSITIES, None), str(given.pop(LAYERS, "")), given.pop(PROFILE, None)
    _require_known(origin, given, parameter_names(document), *_OF_FILES)
    if prefix and table is None:
        raise InputError(f"{origin}: parameter '{LAYERS}' chooses rows of a table; expected '{DENSITIES}', too")
    for key, path in ((DENSITIES, table), (PROFILE, profile)):
        if path == "":
            raise InputError(f"{origin}: parameter '{key}' is empty, expected a file")
    densities = None if table is None else read_densities(str(table)).beginning(prefix)
    masks = None if profile is None else read_profile(str(profile))
    title = " ".join((name, *(f"{key}={value}" for key, value in (settings or {}).items())))
    try:
        work = build(document, title, given, densities)
    except InputError as error:
        of_table = densities is not None and str(error).startswith(f"{densities.origin}: ")
        raise InputError(str(error) if of_table else f"{origin}: {error}") from None
    return work if masks is None else replace(work, trace=replay(work.trace, masks, int(work.settings["seed"])))


def is_workload(name: str) -> bool:
    """Tell whether a name or path is that of a workload."""
    return name.endswith(SUFFIXES) or (name in list_workloads() and not os.path.exists(name))


def trace_parameters(name: str) -> tuple[str, ...]:
    """Return the names of the parameters of a trace: none of a file's."""
    if is_workload(name):
        return (*parameter_names(read_workload(name)[0]), *_OF_FILES)
    return _OF_TABLE if name.endswith(".csv") else ()


def share_settings(
    settings: Mapping[str, str], trace: str, chip_keys: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Part settings into those of the chip and those of the workload.

    A key that the workload has goes to it, every other one to the chip. ``workload.KEY`` is the workload's in any case.

    Raises:
        InputError: a key that both have.

    """
    known = trace_parameters(trace)
    chip, work = {}, {}
    for key, value in settings.items():
        if key.startswith(_PREFIX):
            work[key.removeprefix(_PREFIX)] = value
        elif key in known and key in chip_keys:
            raise InputError(f"--set {key}: both {trace} and the chip have it; workload.{key} is the former's")
        elif key in known:
            work[key] = value
        elif known and key not in chip_keys and "." not in key:
            hint = nearest(key, (*known, *chip_keys)).partition("; known")[0]
            raise InputError(f"--set {key}: neither {trace} nor the chip has such a parameter{hint}")
        else:
            chip[key] = value
    return chip, work


def _require_known(origin: str, given: Settings, known: Collection[str], *others: str) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"{origin}: there is no parameter '{key}'{nearest(key, (*known, *others))}")
