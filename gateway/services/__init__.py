"""The asyncio loops, one file each. They see `hardware.api`, never a driver."""
