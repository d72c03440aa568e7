"""Optional reports to other services, which need further packages.

``extras``  refuses settings whose packages are missing
``sentry``  errors to Sentry (``SENTRY_DSN``)
``traces``  spans of requests and statements to OpenTelemetry (``OTEL_EXPORTER_OTLP_ENDPOINT``)

Without these settings nothing of the packages is imported. docs/monitoring.md says what is sent.
"""
