"""The `gateway` command: one file per noun, rendering in one place, started fast."""

from gateway.cli.root import main

__all__ = ["main"]
