"""A profile: a few numbers per tensor of a trace, kept as YAML, from which masks are drawn again at any size."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from simulator.arch.config import complaint, parse_yaml
from simulator.arch.part import Part
from simulator.errors import InputError, nearest
from simulator.synthesis.activations import ActivationProfile, draw_activations, fit_activations
from simulator.synthesis.attention import AttentionProfile, draw_attention, fit_attention
from simulator.synthesis.graphs import GraphProfile, fit_graph
from simulator.synthesis.structured import BlockProfile, GroupProfile, draw_blocks, draw_groups
from simulator.synthesis.weights import WeightProfile, draw_weights, fit_weights
from simulator.trace import Attention, MaskTensor, Operator, SpMM, Tensor, Trace

VERSION = 1
LARGEST = 2**28
"""Elements of a tensor that masks are drawn for: what is drawn takes some ten bytes each."""
KINDS: dict[str, type[Part]] = {
    "activations": ActivationProfile,
    "weights": WeightProfile,
    "attention": AttentionProfile,
    "graph": GraphProfile,
    "blocks": BlockProfile,
    "n_of_m": GroupProfile,
}
ACTIVATIONS = ("input", "other", "output", "a", "b", "dense")
WEIGHTS = ("weight", "coefficients")
KEYS = ("skipper", "profile", "tensors")
"""What a file holds."""
CONNECTIONS, MATRIX = "mask", "matrix"
"""The role of the connections of attention, and of a sparse matrix."""


@dataclass(frozen=True)
class Profile:
    """What is kept of a trace."""

    origin: str
    """The trace, or the file, for messages."""
    tensors: Mapping[str, Part]
    """By operator and role: ``conv1.input``."""

    def dump(self) -> str:
        """Return the profile as YAML that `read_profile` reads."""
        from ruamel.yaml import YAML

        kinds = {model: kind for kind, model in KINDS.items()}
        entries = {
            name: {**json.loads(part.model_dump_json(exclude_defaults=True)), "kind": kinds[type(part)]}
            for name, part in self.tensors.items()
        }
        yaml: Any = YAML(typ="safe", pure=True)
        yaml.width, yaml.default_flow_style, yaml.sort_base_mapping_type_on_output = 120, None, False
        stream = io.StringIO()
        yaml.dump({"skipper": VERSION, "profile": self.origin, "tensors": entries}, stream)
        return stream.getvalue()


def fit_profile(trace: Trace) -> Profile:
    """Fit a profile to the masks of a trace.

    Activations, weights, coefficients, connections of attention and given sparse matrices are fitted; what a detector
    reads, and tables, are not. A tensor that is dense throughout is kept as such.

    Raises:
        InputError: as reading the tensors.

    """
    parts: dict[str, Part] = {}
    for name, (_, role, tensor) in _uses(trace).items():
        if role in WEIGHTS:
            parts[name] = fit_weights(tensor.mask())
        else:
            parts[name] = fit_activations(tensor.mask())
    for operator in trace.operators:
        if isinstance(operator, Attention) and (operator.mask is not None or operator.rule != "none"):
            parts[f"{operator.name}.{CONNECTIONS}"] = fit_attention(_connections(operator), operator.causal)
        elif isinstance(operator, SpMM) and operator.indptr is not None and (found := operator.matrix()) is not None:
            parts[f"{operator.name}.{MATRIX}"] = fit_graph(found[0])
    return Profile(trace.name, parts)


def read_profile(path: str | Path) -> Profile:
    """Read a profile.

    Raises:
        InputError: no such file, not YAML, an unknown kind or key (the nearest is named), a number out of its range.

    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{path}: cannot read the profile: {reason}") from None
    document = parse_yaml(text, str(path))
    if not isinstance(document, dict) or "tensors" not in document:
        raise InputError(f"{path}: expected a profile, with the keys skipper, profile and tensors")
    for key in document:
        if key not in KEYS:
            raise InputError(f"{path}: unknown key '{key}'{nearest(str(key), KEYS)}")
    version = document.get("skipper")
    if type(version) is not int or version != VERSION:
        raise InputError(f"{path}: key 'skipper' is {version!r}; expected {VERSION}")
    tensors = document["tensors"]
    if not isinstance(tensors, dict) or not tensors:
        raise InputError(f"{path}: key 'tensors' must map 'operator.role' to a profile, one or more")
    return Profile(str(path), {str(name): _part(entry, f"{path}: '{name}'") for name, entry in tensors.items()})


def _part(entry: Any, where: str) -> Part:
    if not isinstance(entry, dict) or "kind" not in entry:
        raise InputError(f"{where} must be a mapping with the key 'kind'{nearest('', KINDS)}")
    given = dict(entry)
    kind = given.pop("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{where} has the unknown kind {kind!r}{nearest(str(kind), KINDS)}")
    for key in given:
        if key not in KINDS[kind].model_fields:
            raise InputError(f"{where}: unknown key '{key}'{nearest(str(key), KINDS[kind].model_fields)}")
    try:
        return KINDS[kind].model_validate_json(json.dumps(given, default=str))
    except ValidationError as error:
        raise InputError(f"{where}: {complaint(error, KINDS[kind])}") from None


def replay(trace: Trace, profile: Profile, seed: int = 0) -> Trace:
    """Return a trace whose tensors are masks drawn from a profile, at the sizes that they have in the trace.

    Tensors without an entry stay as they are. One tensor held by several operators remains one.

    Args:
        trace: operators whose names are those of the profile.
        profile: what masks look like.
        seed: what is drawn, is drawn from it and from the name of the tensor.

    Raises:
        InputError: no name of the profile is one of the trace, a profile is of another kind than its tensor, or a
            tensor has more than 2^28 elements.

    """
    drawn: dict[int, Tensor] = {}
    used = set()
    for name, (_, role, tensor) in _uses(trace, every=True).items():
        if name in profile.tensors and id(tensor) not in drawn:
            used.add(name)
            mask = _drawn(profile.tensors[name], role, tensor, _seed(seed, name), f"{profile.origin}: '{name}'")
            drawn[id(tensor)] = MaskTensor.of(mask, tensor.bits)
    operators = []
    for operator in trace.operators:
        changes: dict[str, Any] = {role: drawn.get(id(tensor), tensor) for role, tensor in operator.tensors.items()}
        for role in (CONNECTIONS, MATRIX):
            name = f"{operator.name}.{role}"
            if name in profile.tensors and isinstance(operator, Attention | SpMM):
                used.add(name)
                changes |= _connected(operator, profile.tensors[name], _seed(seed, name), f"{profile.origin}: '{name}'")
        operators.append(replace(operator, **changes))
    if not used:
        names = [f"{operator.name}.{role}" for operator in trace.operators for role in operator.tensors]
        first = next(iter(profile.tensors))
        raise InputError(f"{profile.origin}: no tensor of the trace is profiled: '{first}'{nearest(first, names)}")
    return Trace(
        trace.name, tuple(operators), {**trace.provenance, "masks": f"drawn from {profile.origin}, seed {seed}"}
    )


def _drawn(part: Part, role: str, tensor: Tensor, seed: int, where: str) -> NDArray[Any]:
    if tensor.size > LARGEST:
        raise InputError(f"{where} has {tensor.size} elements, more than the 2^28 that masks are drawn for")
    if isinstance(part, ActivationProfile) and role in ACTIVATIONS:
        return draw_activations(part, tensor.shape, seed)
    if role in WEIGHTS and len(tensor.shape) > 1:
        try:
            if isinstance(part, WeightProfile):
                return draw_weights(part, tensor.shape, seed)
            if isinstance(part, BlockProfile):
                return draw_blocks(part, tensor.shape, seed)
            if isinstance(part, GroupProfile):
                return draw_groups(part, tensor.shape, seed)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    raise InputError(f"{where} is a profile of another kind of tensor than {role}")


def _connected(operator: Attention | SpMM, part: Part, seed: int, where: str) -> dict[str, Any]:
    if isinstance(operator, Attention) and isinstance(part, AttentionProfile):
        shape = (operator.images, operator.heads, operator.query_count, operator.key_count)
        if math.prod(shape) > LARGEST:
            raise InputError(f"{where} has {math.prod(shape)} elements, more than the 2^28 that masks are drawn for")
        mask = MaskTensor.of(draw_attention(part, shape, seed, operator.causal))
        return {"mask": mask, "rule": "none", "retention": None, "keys_per_row": None, "threshold": None}
    if isinstance(operator, SpMM) and isinstance(part, GraphProfile):
        nonzeros = min(max(1, round(part.per_row * operator.rows)), operator.rows * operator.columns)
        drawn = {"nonzeros": nonzeros, "exponent": part.exponent, "seed": seed}
        return {**dict.fromkeys(("indptr", "indices", "values")), "rows": operator.rows, **drawn}
    raise InputError(f"{where} is a profile of another kind than '{operator.name}' ({operator.type})")


def _uses(trace: Trace, every: bool = False) -> dict[str, tuple[Operator, str, Tensor]]:
    """Return the tensors that are profiled, by operator and role: each once, as an input if it is any, or every use."""
    found: dict[str, tuple[Operator, str, Tensor]] = {}
    seen = set()
    for outputs in (False, True):
        for operator in trace.operators:
            for role, tensor in operator.tensors.items():
                profiled = role in (*ACTIVATIONS, *WEIGHTS) and (role == "output") == outputs
                if profiled and len(tensor.shape) > 1 and (every or id(tensor) not in seen):
                    seen.add(id(tensor))
                    found[f"{operator.name}.{role}"] = (operator, role, tensor)
    return found


def _connections(operator: Attention) -> NDArray[Any]:
    heads = [[operator.kept_mask(n, h) for h in range(operator.heads)] for n in range(operator.images)]
    return np.array(heads)


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(sha256(f"{seed}/{name}".encode()).digest()[:6], "little")
