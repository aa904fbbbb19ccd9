"""The whole gateway under a virtual clock: seeded faults, invariants after every step, a trace.

`python -m tests.simulation --seeds 0-99 --days 30` runs many, `--seed N --verbose` replays one.
"""
