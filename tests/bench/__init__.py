"""Measurements: ratios to the physical limit or to a peer in the same run. Run with `make bench`."""
