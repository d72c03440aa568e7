"""Exact running counts, maintained by database triggers."""
