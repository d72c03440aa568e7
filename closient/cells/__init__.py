"""Cells: further primaries (``CELLS``), each with whole organizations and the whole schema.

The default database is the directory, which knows the cell of each organization, and a cell too.
"""
