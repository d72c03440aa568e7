"""Exact running counts, kept by the database."""
