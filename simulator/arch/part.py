"""What a part's configuration is: a strict, frozen model with a docstring under each field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of every part's configuration: unknown keys are refused, nothing changes after loading."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, strict=False
    )
