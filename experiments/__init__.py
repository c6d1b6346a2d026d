"""Experiments: a published table each, with what reproduces it."""
