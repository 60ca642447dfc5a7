"""Benchmarks: each module measures one promise, as ratios in one run where it compares."""
