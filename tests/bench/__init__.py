"""Measurements: ratios to a physical limit or to a peer in the same run. Run: `make bench`."""
