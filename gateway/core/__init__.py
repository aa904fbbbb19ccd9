"""The pure heart: money, energy, holds, decisions. Standard library only; no clock, no I/O."""
