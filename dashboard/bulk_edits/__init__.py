"""Bulk edits: one change of many products, offers or certificates, and the undo of any change.

``targets`` says what can be changed in each kind of row, ``preview`` what a change would do,
``writing`` does it, and ``runs`` decides whether it runs in the request or in the worker.
"""
