"""Metrics of the whole service, which a worker reads from the database for each scrape."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import Error, connection, transaction
from prometheus_client import REGISTRY, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily

from catalog.models.import_run import QUEUED, WORKING
from closient.db import gauges
from closient.metrics import address
from closient.periodic.reports import MAX_SILENCE_SECONDS

logger = logging.getLogger("dashboard.metrics")

# For repeated scrapes, and scrapes by several servers.
CACHE_SECONDS = 5.0
QUERY_TIMEOUT = "2s"
# More due offers are not counted.
MAX_DUE = 100_000

_UNFINISHED = ", ".join(f"'{status.value}'" for status in (*QUEUED, *WORKING))
# One statement: for each organization, its first due offers from an index.
_QUERY = f"""
    WITH due AS MATERIALIZED (
        SELECT o.url_check_at
        FROM accounts_organization organization CROSS JOIN LATERAL (
            SELECT url_check_at FROM offers_offer
            WHERE organization_id = organization.id AND channel = 'online'
              AND url_check_at <= statement_timestamp()
            ORDER BY url_check_at LIMIT {MAX_DUE}
        ) o LIMIT {MAX_DUE}
    ), oldest AS MATERIALIZED (
        SELECT min(o.url_check_at) AS at
        FROM accounts_organization organization CROSS JOIN LATERAL (
            SELECT url_check_at FROM offers_offer
            WHERE organization_id = organization.id AND channel = 'online'
              AND url_check_at <= statement_timestamp()
            ORDER BY url_check_at LIMIT 1
        ) o
    )
    SELECT 'due', '', (SELECT count(*) FROM due)::float8
    UNION ALL
    SELECT 'overdue', '',
        coalesce(extract(epoch FROM statement_timestamp() - (SELECT at FROM oldest)), 0)::float8
    UNION ALL
    SELECT 'imports', status, count(*)::float8 FROM catalog_importrun
    WHERE status IN ({_UNFINISHED}) GROUP BY status
    UNION ALL
    SELECT 'sources', CASE WHEN failures > 0 THEN 'failing'
            WHEN is_paused THEN 'paused' ELSE 'ok' END, count(*)::float8
    FROM catalog_importsource GROUP BY 2
    UNION ALL
    SELECT 'sources_overdue', '', coalesce(
        extract(epoch FROM statement_timestamp() - min(next_run_at)), 0)::float8
    FROM catalog_importsource WHERE next_run_at <= statement_timestamp()
    UNION ALL
    SELECT 'job_end', name, extract(epoch FROM last_ended_at)::float8 FROM jobs_job
    WHERE last_ended_at IS NOT NULL
    UNION ALL
    SELECT 'job_seconds', name, extract(epoch FROM last_ended_at - last_started_at)::float8
    FROM jobs_job WHERE last_ended_at >= last_started_at
    UNION ALL
    SELECT 'job_failed', name, (last_error <> '')::int::float8 FROM jobs_job
    UNION ALL
    SELECT 'workers', '', count(*)::float8 FROM jobs_worker
    WHERE seen_at > statement_timestamp() - interval '{MAX_SILENCE_SECONDS} seconds'
    UNION ALL
    SELECT 'audit_differences', '', sum(differences)::float8 FROM tally_audit HAVING count(*) > 0
    UNION ALL
    SELECT 'audited', '',
        extract(epoch FROM min(coalesce(audit.audited_at, organization.created_at)))::float8
    FROM accounts_organization organization
    LEFT JOIN tally_audit audit ON audit.organization_id = organization.id
    HAVING count(audit.organization_id) > 0
    UNION ALL
    SELECT 'tally', '', greatest(reltuples, 0)::float8 FROM pg_class
    WHERE oid = 'tally_tallyentry'::regclass
"""  # noqa: S608 - constants only

# Name, help and label of each group of rows.
_FAMILIES = {
    "due": (
        "closient_url_checks_due",
        f"Offers whose URL check is due, counted up to {MAX_DUE}.",
        None,
    ),
    "overdue": (
        "closient_url_checks_overdue_seconds",
        "Seconds for which the oldest due URL check has been due.",
        None,
    ),
    "imports": ("closient_imports", "Import runs that wait or run, by status.", "status"),
    "sources": ("closient_import_sources", "Sources of imports by state.", "state"),
    "sources_overdue": (
        "closient_import_sources_overdue_seconds",
        "Seconds for which the oldest due source has been due.",
        None,
    ),
    "job_end": (
        "closient_job_last_end_timestamp_seconds",
        "When the last run of a periodic job ended.",
        "job_name",
    ),
    "job_seconds": (
        "closient_job_last_duration_seconds",
        "How long the last run of a periodic job took.",
        "job_name",
    ),
    "job_failed": (
        "closient_job_last_failed",
        "1 if the last run of a periodic job failed.",
        "job_name",
    ),
    "workers": ("closient_workers", "Workers that have reported within the last minute.", None),
    "audit_differences": (
        "closient_tally_audit_differences",
        "Differences between tally and rows that the last audit of each organization found.",
        None,
    ),
    "audited": (
        "closient_tally_audit_timestamp_seconds",
        "When the last complete audit began: every older organization was audited since then.",
        None,
    ),
    "tally": (
        "closient_tally_entries_estimate",
        "Entries of the tally, as PostgreSQL estimates them.",
        None,
    ),
}


class DatabaseCollector:
    """Metrics of the whole service, from one statement for each scrape."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[tuple[str, str, float]] | None = None
        self._read_at = float("-inf")

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering it does not query."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the metrics; only ``closient_database_scrape_success`` if the query fails."""
        with self._lock:
            if time.monotonic() - self._read_at >= CACHE_SECONDS:
                self._rows = _read()
                self._read_at = time.monotonic()
            rows = self._rows
        yield GaugeMetricFamily(
            "closient_database_scrape_success",
            "1 if the metrics from the database could be read.",
            value=float(rows is not None),
        )
        if rows is None:
            return
        for group, (name, text, label) in _FAMILIES.items():
            family = GaugeMetricFamily(name, text, labels=[label] if label else None)
            for kind, value, number in rows:
                if kind == group:
                    family.add_metric([value] if label else [], number)
            yield family


def serve(bind: str) -> None:
    """Serve the metrics of this worker from background threads; raises ``OSError``."""
    host, port = address.parse(bind)
    REGISTRY.register(DatabaseCollector())
    gauges.update_when_scraped()
    start_http_server(port, host)
    logger.info("metrics: listening on %s", bind)


def _read() -> list[tuple[str, str, float]] | None:
    # Scrapes run in separate threads, whose connections would stay open.
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout TO '{QUERY_TIMEOUT}'")
            cursor.execute("SET LOCAL jit TO off")
            cursor.execute(_QUERY)
            rows: list[Any] = cursor.fetchall()
            return rows
    except Error as error:
        logger.warning("metrics: the database could not be read: %s", " ".join(str(error).split()))
        return None
    finally:
        connection.close()
