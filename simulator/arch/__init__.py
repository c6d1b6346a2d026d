"""Configurations of chips: schema, units of measure, provenance, technology tables."""

from simulator.arch.config import (
    Arch,
    Config,
    Provenance,
    list_configs,
    list_memories,
    parse_config,
    read_config,
    validate,
)
from simulator.arch.part import Part
from simulator.arch.technology import Technology, list_technologies, load_technology

__all__ = [
    "Arch", "Config", "Part", "Provenance", "Technology", "list_configs", "list_memories", "list_technologies",
    "load_technology", "parse_config", "read_config", "validate",
]  # fmt: skip
