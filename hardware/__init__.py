"""Drivers for meters, buses and supply switches. They know nothing of money and never import `gateway`."""
