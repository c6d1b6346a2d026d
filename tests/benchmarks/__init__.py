"""Benchmarks: ``python -m tests.benchmarks`` prints times and ratios against references measured in the same run."""
