"""Benchmarks: each prints a table and leaves it as JSON in build/bench/."""
