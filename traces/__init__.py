"""Shipped traces, each made by a recipe in workloads."""
