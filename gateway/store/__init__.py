"""The ledger on disk: schema, the one writer, the outbox, the registry of meters and accounts.

Functions here take an open connection, `tx`, and never begin or commit: whoever calls them decides
what belongs together. Only `database.Database` begins and commits.
"""
