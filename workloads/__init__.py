"""Workloads: recipes that train and extract small real models."""
