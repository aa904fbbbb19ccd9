"""Power cuts at every write: what SQLite sends to the disk is recorded, cut off, opened again."""
