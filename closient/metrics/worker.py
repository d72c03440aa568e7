"""What a worker counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CHECKS = Counter(
    "closient_url_checks",
    "Finished URL checks of this worker, by result: the class of the status, or why there is none.",
    ["result"],
)
CHECKS_IN_PROGRESS = Gauge(
    "closient_url_checks_in_progress", "URL checks of this worker that are in progress."
)
JOB_RUNS = Counter(
    "closient_job_runs",
    "Runs of periodic jobs in this worker, by outcome.",
    ["job_name", "outcome"],
)
