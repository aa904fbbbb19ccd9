"""Planted bugs: each a small change of the source that the tests must notice."""
