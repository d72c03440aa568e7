"""The history: what changed, what caused it, why the numbers moved, and how to take it back.

The database records it (:mod:`closient.changes`); nothing here writes it, except an undo, which is
a change like any other.
"""
