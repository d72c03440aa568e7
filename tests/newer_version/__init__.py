"""Migrations that a newer version could have: kinds that are safe beside the running old code."""
