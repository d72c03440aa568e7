"""The alert rules and the dashboard: what fires them, and that the service has their metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client import REGISTRY

import closient.metrics.web
import closient.metrics.worker
from dashboard.metrics import DatabaseCollector
from tests import programs
from tests.factories import ImportSourceFactory, ProductFactory
from tests.project_files import PROJECT
from tests.scraping import Samples, scrape, value
from tests.servers import ROOT, TIMEOUT_SECONDS, environment, free_port, serving
from tests.waiting import wait_until

RULES = PROJECT / "closient/metrics/alerts.yml"
ALERTS = {rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
PANELS = json.loads((PROJECT / "closient/metrics/grafana.json").read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
METRIC = re.compile(r"closient_\w+")
# In seconds. The time of promtool begins at zero: what was before has a negative time.
DAY = 24 * 60 * 60
# Labels that Prometheus adds.
ADDED = {"instance", "job"}

Series = dict[str, str]


class Case(NamedTuple):
    """What an alert fires on after some minutes, and what it is silent on.

    Values are in promtool's notation: ``1+2x60`` is 1, then 60 times 2 more, one a minute.
    """

    minutes: int
    fires: Series
    silent: Series
    labels: dict[str, str] = {}


def requests(status: str, values: str) -> Series:
    return {f'closient_http_requests_total{{route="stats",method="GET",status="{status}"}}': values}


CASES = {
    "ClosientErrors": Case(
        12,
        requests("200", "0+988x20") | requests("503", "0+12x20"),
        requests("200", "0+800x20") | requests("503", "0+9x20") | requests("404", "0+191x20"),
    ),
    "ClosientDatabaseHangs": Case(
        4,
        {"closient_database_hangs_total": "0 0 0 1 1"},
        {"closient_database_hangs_total": "3x10"},
    ),
    "ClosientNotReady": Case(
        5,
        {"closient_ready": "1 1 1 0 0 0"},
        # For less than a minute.
        {"closient_ready": "1 1 1 1 1 0 0"},
    ),
    "ClosientReplicaLeftAlone": Case(
        6,
        {"closient_replica_left_alone_seconds": "0+60x10"},
        {"closient_replica_left_alone_seconds": "0 60 120 180 240 300 300"},
    ),
    "ClosientNoWorker": Case(
        10, {"closient_workers": "1 1 1 0x20"}, {"closient_workers": "1x6 0x20"}
    ),
    "ClosientJobFails": Case(
        130,
        {'closient_job_last_failed{job_name="take_snapshots"}': "1x200"},
        {'closient_job_last_failed{job_name="take_snapshots"}': "0x40 1x100"},
        {"job_name": "take_snapshots"},
    ),
    "ClosientJobDoesNotRun": Case(
        2,
        {'closient_job_last_end_timestamp_seconds{job_name="audit_tally"}': f"-{2 * DAY}x5"},
        {'closient_job_last_end_timestamp_seconds{job_name="audit_tally"}': f"-{2 * DAY - 120}x5"},
        {"job_name": "audit_tally"},
    ),
    "ClosientChecksLate": Case(
        20,
        {"closient_url_checks_overdue_seconds": "21601x30"},
        {"closient_url_checks_overdue_seconds": "21600x30"},
    ),
    "ClosientSourcesLate": Case(
        20,
        {"closient_import_sources_overdue_seconds": "3601x30"},
        {"closient_import_sources_overdue_seconds": "3600x30"},
    ),
    "ClosientSourcesFail": Case(
        65,
        {
            'closient_import_sources{state="failing"}': "7x90",
            'closient_import_sources{state="ok"}': "6x90",
        },
        {
            'closient_import_sources{state="failing"}': "6x90",
            'closient_import_sources{state="ok"}': "6x90",
        },
    ),
    "ClosientNumbersDiffer": Case(
        1,
        {"closient_tally_audit_differences": "0 1"},
        {"closient_tally_audit_differences": "1 0"},
    ),
    "ClosientAuditLate": Case(
        6 * 60 + 2,
        {"closient_tally_audit_timestamp_seconds": f"-{8 * DAY}x{8 * 60}"},
        {"closient_tally_audit_timestamp_seconds": f"-{8 * DAY - 7 * 60 * 60}x{8 * 60}"},
    ),
}
# These alerts also fire if Prometheus has no such metric.
ABSENT = {"ClosientNoWorker", "ClosientNotReady"}


def expected(alert: str, labels: dict[str, str]) -> dict[str, Any]:
    rule = ALERTS[alert]
    return {"exp_labels": rule["labels"] | labels, "exp_annotations": rule["annotations"]}


def run_promtool(folder: Path, series: Series, minutes: int, found: dict[str, list[Any]]) -> None:
    """Let promtool check that these alerts, and no others of those named, fire after the time."""
    tests = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "alert_rule_test": [
                    {"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": alerts}
                    for alert, alerts in found.items()
                ],
            }
        ],
    }
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump(tests))
    command = [programs.need("promtool"), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid() -> None:
    command = [programs.need("promtool"), "check", "rules", str(RULES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_every_alert_has_a_case_and_a_section_of_the_page() -> None:
    assert CASES.keys() == ALERTS.keys()
    page = (PROJECT / "docs/monitoring.md").read_text()
    for alert, rule in ALERTS.items():
        assert f"\n### {alert}\n" in page
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{alert.lower()}"


@pytest.mark.parametrize("alert", CASES)
def test_alert_fires_on_its_condition_and_only_then(alert: str, tmp_path: Path) -> None:
    case = CASES[alert]
    run_promtool(tmp_path, case.fires, case.minutes, {alert: [expected(alert, case.labels)]})
    run_promtool(tmp_path, case.silent, case.minutes, {alert: []})
    missing = [expected(alert, {})] if alert in ABSENT else []
    run_promtool(tmp_path, {}, case.minutes, {alert: missing})


def labels_by_metric() -> dict[str, set[str]]:
    """The label names of each metric of web processes and workers, by the names of its samples."""
    closient.metrics.web.ready()
    found = {}
    for collector, names in REGISTRY._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        found |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in names}
    for family in DatabaseCollector().collect():
        found[family.name] = set(family._labelnames)  # type: ignore[attr-defined]
    return {name: labels for name, labels in found.items() if METRIC.match(name)}


@pytest.mark.django_db(transaction=True)
def test_alerts_dashboard_cases_and_page_name_metrics_and_labels_that_exist() -> None:
    exposed = labels_by_metric()
    assert len(exposed) > 40
    cases = [series for case in CASES.values() for series in (*case.fires, *case.silent)]
    for text in (*QUERIES, *(rule["expr"] for rule in ALERTS.values()), *cases):
        names = METRIC.findall(text)
        assert names
        assert set(names) <= exposed.keys(), text
        selectors = re.findall(r"\{(.*?)\}", text)
        used = {label for each in selectors for label in re.findall(r"(\w+)\s*=", each)}
        used |= {word for each in re.findall(r"by \((.*?)\)", text) for word in each.split(", ")}
        assert used <= set.union(ADDED, *(exposed[name] for name in names)), text
    # A series of a case has all labels of its metric, as the service has.
    for series in cases:
        assert set(re.findall(r"(\w+)=", series)) == exposed[METRIC.findall(series)[0]]


@pytest.mark.django_db(transaction=True)
def test_page_lists_all_metrics_with_their_labels() -> None:
    exposed = labels_by_metric()
    rows = re.findall(
        r"^\| `(closient_\w+)` \| (.*?) \|", (PROJECT / "docs/monitoring.md").read_text(), re.M
    )
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert len(documented) == len(rows)
    parts = re.compile(r"_(created|bucket|count|sum)\Z")
    expected = {
        name: labels
        for name, labels in exposed.items()
        # Of a counter the name with _total, of a histogram the name without an ending.
        if not parts.search(name) and f"{name}_total" not in exposed
    }
    assert documented == expected


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_healthy_service_fires_no_alert(tmp_path: Path) -> None:
    ImportSourceFactory(organization=ProductFactory().organization, is_paused=True)
    ports = {"web": free_port(), "worker": free_port()}
    command = [sys.executable, "manage.py", "run_worker"]
    variables = environment(METRICS_BIND=f"127.0.0.1:{ports['worker']}")
    worker = subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.DEVNULL)
    try:
        with serving(METRICS_BIND=f"127.0.0.1:{ports['web']}"):
            wait_until(lambda: value(scrape(ports["web"]), "closient_ready") == 1)
            wait_until(lambda: value(scrape(ports["worker"]), "closient_workers") == 1)
            audited = "closient_tally_audit_timestamp_seconds"
            wait_until(lambda: value(scrape(ports["worker"]), audited))
            scraped = {name: scrape(port) for name, port in ports.items()}
    finally:
        worker.terminate()
        assert worker.wait(TIMEOUT_SECONDS * 2) == 0
    assert value(scraped["worker"], "closient_ready") is None
    series = {
        text: values
        for instance, samples in scraped.items()
        for text, values in constant(samples, instance).items()
    }
    used = {name for rule in ALERTS.values() for name in METRIC.findall(rule["expr"])}
    present = {METRIC.findall(text)[0] for text in series if METRIC.match(text)}
    assert used <= present
    # promtool's time begins at 0.
    run_promtool(tmp_path, series, 180, {alert: [] for alert in ALERTS})


def constant(samples: Samples, instance: str) -> Series:
    """Samples as series that do not change, with times relative to now."""
    now = time.time()
    found = {}
    for (name, labels), number in samples.items():
        text = ",".join(f'{label}="{value}"' for label, value in [*labels, ("instance", instance)])
        relative = number - now if name.endswith("timestamp_seconds") else number
        found[f"{name}{{{text}}}"] = f"{relative}x200"
    return found
