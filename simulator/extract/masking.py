"""What masks a score."""

from __future__ import annotations

from typing import Final

__all__ = ["MASKED"]

MASKED: Final = -9000.0
"""A score of at most this much, or to which as much is added, is masked: models use −∞, the least number, −10⁴."""
