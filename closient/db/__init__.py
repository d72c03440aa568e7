"""How the service uses its database: the Django backends, time limits, and what an outage is.

`postgresql` and `embedded` are the backends for `DATABASES`: Django's own for PostgreSQL and the
private server's, each with what :mod:`closient.db.backend` adds.
"""
