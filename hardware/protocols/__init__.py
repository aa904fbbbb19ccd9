"""Protocols as state machines without I/O: bytes in, bytes out; no clock, no device, no asyncio."""
