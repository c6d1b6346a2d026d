"""A trace as one safetensors file. The format is described in docs/traces.md."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError, nearest
from simulator.trace.operator import Operator, build
from simulator.trace.stored import StoredArray, TensorFile
from simulator.trace.tensor import DensityTensor, MaskTensor, Tensor, ValueTensor
from simulator.trace.trace import Trace

FORMAT = "skipper-trace"
VERSION = 1
_KEY = "skipper"
_SUFFIX = ".safetensors"
_CODES = {"<u4": "U32", "<i4": "I32", "<u2": "U16", "<i2": "I16", "|i1": "I8", "|u1": "U8"}
"""The types of stored arrays, in the order in which they stand in a file."""


def save_trace(trace: Trace, path: str | os.PathLike[str], force: bool = False) -> None:
    """Write the trace as one file, whole or not at all; the same trace gives the same bytes.

    One tensor at a time is in memory.

    Args:
        trace: what to write.
        path: the file; its folder must exist.
        force: replace a file that exists.

    Raises:
        InputError: the file exists already, or cannot be written.

    """
    target = Path(path)
    if os.path.isdir(target):
        raise InputError(f"{target}: this is a folder, expected the name of a file")
    if os.path.exists(target) and not force:
        raise InputError(f"{target}: the file exists already; force=True replaces it")
    header = {"format": FORMAT, "version": VERSION, **trace.header()}
    _write_whole(target, _octets(trace.tensors, {_KEY: json.dumps(header, sort_keys=True)}))


def load_trace(path_or_name: str | os.PathLike[str]) -> Trace:
    """Open a trace: the structure is read and checked, the contents of tensors are read when they are used.

    Args:
        path_or_name: a file, or the name of a shipped trace (`list_traces`), with or without `.safetensors`.

    Raises:
        InputError: one sentence that names the file and what is wrong with it.

    """
    path = _find(path_or_name)
    file = TensorFile(path)
    try:
        return _parse(file)
    except InputError as error:
        message = str(error).replace("\n", "\\n")
        raise InputError(message if message.startswith(f"{path}: ") else f"{path}: {message}") from None


def list_traces() -> list[str]:
    """Return the names of the shipped traces."""
    return sorted(_shipped())


def trace_path(path_or_name: str | os.PathLike[str]) -> Path:
    """Return the file that `load_trace` opens, which need not exist.

    Raises:
        InputError: a bare name that is neither a file nor a shipped trace.

    """
    return _find(path_or_name)


def _shipped() -> dict[str, Path]:
    folder = importlib.resources.files("simulator.traces")
    return {
        entry.name.removesuffix(_SUFFIX): Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(_SUFFIX)
    }


def _find(path_or_name: str | os.PathLike[str]) -> Path:
    path = Path(path_or_name)
    if os.path.isfile(path) or not isinstance(path_or_name, str) or path.name != path_or_name:
        return path
    shipped = _shipped()
    name = path_or_name.removesuffix(_SUFFIX)
    if name in shipped:
        return shipped[name]
    if os.path.exists(path):
        return path
    known = nearest(name, shipped) if shipped else "; no traces are shipped"
    raise InputError(f"'{path_or_name}' is neither a file ({path.absolute()}) nor a shipped trace{known}")


def _octets(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file, tensor by tensor, in the order and with the bytes of the library."""
    found = ((name, tensor.content()) for name, tensor in tensors.items())
    stored = {name: (array.dtype.newbyteorder("<"), array.shape) for name, array in found if array is not None}
    order = sorted(stored, key=lambda name: (list(_CODES).index(stored[name][0].str), name))
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        dtype, shape = stored[name]
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        entries[name] = {"dtype": _CODES[dtype.str], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        array = tensors[name].content()
        assert array is not None
        yield _little_endian(array).reshape(-1).data.cast("B")


def _write_whole(target: Path, parts: Iterable[bytes | memoryview]) -> None:
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{target}: the file cannot be written ({reason})") from None
    finally:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _parse(file: TensorFile) -> Trace:
    header = _header(file)
    declared = _get(header, "tensors", dict, "the header")
    tensors = {name: _tensor(file, name, _typed(entry, dict, f"tensor '{name}'")) for name, entry in declared.items()}
    operators = tuple(_operator(entry, tensors) for entry in _get(header, "operators", list, "the header"))
    name, provenance = _get(header, "name", str, "the header"), _get(header, "provenance", dict, "the header")
    return Trace(name, operators, provenance)


def _header(file: TensorFile) -> dict[str, Any]:
    text = file.metadata.get(_KEY)
    if text is None:
        raise InputError(f"a safetensors file, but not a Skipper trace (its metadata has no key '{_KEY}')")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"the metadata '{_KEY}' is not JSON, expected the header of a trace") from None
    header: dict[str, Any] = _typed(parsed, dict, "the header")
    found, version = _get(header, "format", str, "the header"), _get(header, "version", int, "the header")
    if found != FORMAT:
        raise InputError(f"the format is '{found}', expected '{FORMAT}'")
    if version > VERSION:
        raise InputError(f"made by a newer Skipper (format {version}; this one reads {VERSION})")
    if version < 1:
        raise InputError(f"the version is {version}, expected a whole number from 1 to {VERSION}")
    return header


def _operator(entry: Any, tensors: Mapping[str, Tensor]) -> Operator:
    entry = _typed(entry, dict, "every entry of 'operators'")
    name = _get(entry, "name", str, "an operator")
    where = f"operator '{name}'"
    given = {}
    for role, tensor in _get(entry, "tensors", dict, where).items():
        if _typed(tensor, str, f"role '{role}' of {where}") not in tensors:
            raise InputError(f"{where}: its {role} is the tensor '{tensor}', which the header does not declare")
        given[role] = tensors[tensor]
    return build(_get(entry, "type", str, where), name, given, _get(entry, "attributes", dict, where))


def _tensor(file: TensorFile, name: str, entry: Mapping[str, Any]) -> Tensor:
    where = f"tensor '{name}'"
    kind = _get(entry, "kind", str, where)
    shape, bits = tuple(_get(entry, "shape", list, where)), _get(entry, "bits", int, where)
    try:
        if kind == ValueTensor.kind:
            scale = _get(entry, "scale", object, where)
            array = _array(file, name)
            if array.shape != shape:
                raise InputError(f"{where} is declared with shape {shape}, expected that of its data, {array.shape}")
            return ValueTensor(array, scale, bits)
        if kind == MaskTensor.kind:
            return MaskTensor(_array(file, name), shape, bits)
        if kind == DensityTensor.kind:
            density, seed = _get(entry, "density", object, where), _get(entry, "seed", int, where)
            return DensityTensor(shape, density, seed, bits)
    except InputError as error:
        raise InputError(str(error) if where in str(error) else f"{where}: {error}") from None
    kinds = (ValueTensor.kind, MaskTensor.kind, DensityTensor.kind)
    raise InputError(f"{where} has the unknown kind '{kind}'{nearest(kind, kinds)}")


def _array(file: TensorFile, name: str) -> StoredArray:
    try:
        return file.array(name)
    except KeyError:
        raise InputError(f"tensor '{name}' is declared, but the file does not hold its data") from None


def _get(entry: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in entry:
        raise InputError(f"{where} lacks the key '{key}'")
    return _typed(entry[key], kind, f"'{key}' of {where}")


def _typed(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        expected = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}[kind]
        raise InputError(f"{what} must be {expected}, not {json.dumps(value)[:60]}")
    return value
