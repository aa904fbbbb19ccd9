"""Prepaid electricity on a Raspberry Pi: what a balance is, when supply is cut, who is told."""

__version__ = "0.1.0"
