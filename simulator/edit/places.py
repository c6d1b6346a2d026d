"""Places in a list, as a user writes them: ``3``, ``0:4``, ``5:``, ``0,2,5:8``."""

from __future__ import annotations

import re

from simulator.errors import InputError

_PLACE = r"(?:\d+|\d*:\d*)"
LONGEST = 40
"""Characters of what was written that a message repeats."""
_PLACES = re.compile(rf"{_PLACE}(?:,{_PLACE})*", re.ASCII)


def is_places(text: str) -> bool:
    """Tell whether a text is written as places are."""
    return _PLACES.fullmatch(text) is not None


def places(text: str, count: int, what: str) -> list[int]:
    """Return the places in the order in which they are written.

    Args:
        text: numbers from 0, and ranges as in Python (the end is left out), a comma between them.
        count: how many there are.
        what: what they are, such as ``images``, for messages.

    Raises:
        InputError: not written so, beyond the last, empty, or one named twice.

    """
    said = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    if not is_places(text) or re.search(r"\d{10}", text):
        raise InputError(f"'{said}' names no {what}, expected numbers and ranges from 0, such as 3 or 0:4 or 0,2,5:8")
    found: list[int] = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        begin = int(first or 0)
        end = (int(last) if last else count) if colon else begin + 1
        if end > count or begin >= count:
            raise InputError(f"'{said}' names {what} beyond the last, expected 0 to {count - 1}")
        if begin >= end:
            raise InputError(f"'{said}': the range '{part}' of {what} is empty, expected one that rises")
        found += range(begin, end)
    if len(set(found)) < len(found):
        twice = next(place for place in found if found.count(place) > 1)
        raise InputError(f"'{said}' names {what} twice ({twice}), expected each once")
    return found
