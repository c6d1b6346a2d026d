"""Configurations of accelerators: one YAML file per chip, and the technology tables."""
