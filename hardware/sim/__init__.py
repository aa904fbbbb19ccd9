"""A street in software: homes that use energy, meters on a paced line, contacts that can weld.

`gateway demo`, the tests and the benchmarks run the real drivers against it. Nothing here knows of
money, of gpiozero or of a broker. Start at `street.Street`; serve one with
`python -m hardware.sim`.
"""
