"""Imports from the pages: actions of users, work of the worker, and the run's files."""
