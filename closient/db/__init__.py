"""The database: Django backends, time limits, detection of outages, transactions, locks and ids.

`postgresql` and `embedded` are the backends for `DATABASES`: Django's PostgreSQL backend and that
of the private server, both extended by :mod:`closient.db.backend`.
"""
