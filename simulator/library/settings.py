"""The parameters of a workload: which there are, and the values that they have."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.errors import InputError, nearest
from simulator.library import schema
from simulator.library.expression import Number
from simulator.library.fields import value_of


def parameter_names(document: schema.Document) -> tuple[str, ...]:
    """Return the parameters that can be set, those of every workload included."""
    return tuple(dict.fromkeys((*document.parameters, *schema.COMMON)))


def resolve(document: schema.Document, settings: Mapping[str, str | Number]) -> dict[str, Number]:
    """Return the value of every parameter.

    Raises:
        InputError: an unknown parameter (the nearest is named), or a value that is no number.

    """
    known = parameter_names(document)
    for key in settings:
        if key not in known:
            raise InputError(f"there is no parameter '{key}'{nearest(key, known)}")
    values: dict[str, Number] = {key: value for key, (value, _) in schema.COMMON.items()}
    written = {key: parameter.value for key, parameter in document.parameters.items()}
    for key, value in {**written, **{key: settings[key] for key in settings if key not in written}}.items():
        try:
            values[key] = value_of(settings.get(key, value), values)
        except InputError as error:
            raise InputError(f"parameter '{key}': {error}") from None
    return values
