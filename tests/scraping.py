"""Reads metrics as Prometheus does."""

from __future__ import annotations

import time
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.servers import TIMEOUT_SECONDS

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int) -> Samples:
    """The samples by name and labels; waits until the exporter has started."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_SECONDS) as response:
                text = response.read().decode()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """Return a sample's value, or none if there is no such sample."""
    return samples.get((name, frozenset(labels.items())))
