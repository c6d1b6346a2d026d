"""Names that tell operators apart."""

from __future__ import annotations

__all__ = ["Names"]


class Names:
    """Names that differ: the second `conv` is `conv.2`."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._last: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """Return the name, with a number where it was given before."""
        chosen = name
        while chosen in self._given:
            self._last[name] = self._last.get(name, 1) + 1
            chosen = f"{name}.{self._last[name]}"
        self._given.add(chosen)
        return chosen
