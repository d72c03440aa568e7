"""Metrics for Prometheus, served on a separate port if ``METRICS_BIND`` is set.

``web``        what the web processes count
``worker``     what a worker counts; dashboard.metrics adds what it reads from the database
``database``   what both count; closient.db.observation and closient.db.gauges set it
``processes``  gunicorn's hooks: the folder that its processes share, and the exporter's start
``exporter``   the process that serves the sums over the web processes
``address``    the value of ``METRICS_BIND``

Labels never contain keys, nor names of people or organizations. docs/monitoring.md lists all
metrics.
"""
