"""The serial line: one master, many meters, silences, back-off, and the scan for new meters."""
