"""Drivers for meters, buses and supply switches. They know nothing of money.

Nothing here imports `gateway`.
"""
