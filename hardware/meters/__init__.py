"""Meters: what a model's registers are (`models/*.toml`), and how a meter is read."""
