"""Imports from the pages: what people do to a run, what the worker does, and the run's files."""
