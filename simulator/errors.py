"""The two ways in which Skipper stops."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used. The message is one sentence: the file, the key, what was expected."""


class LawViolation(AssertionError):  # noqa: N818 - it breaks a law of the simulator, the user made no error
    """A result breaks a law that every run must keep: a defect of the simulator."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``' (did you mean …?)'`` or ``''``, followed by the known words, to end a sentence with."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return f"{hint}; known: {', '.join(choices)}"
