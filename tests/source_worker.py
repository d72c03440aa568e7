"""A worker of sources and imports for tests, as a separate program: loopback only.

    python -m tests.source_worker CA_FILE IMPORTS_FOLDER

Fetches and imports what is due until it is killed.
"""

# ruff: noqa: PLC0415 - Django has to be set up before its models can be imported.
from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import django

from tests.servers import ROOT, environment


def start(ca_file: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a worker on the test database."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.source_worker", ca_file, str(folder)],
        cwd=ROOT,
        env=environment(),
    )


def main() -> None:
    ca_file, folder = sys.argv[1:]
    from django.conf import settings

    kept = settings.STORAGES["imports"]
    settings.STORAGES["imports"] = {**kept, "OPTIONS": {**kept["OPTIONS"], "location": folder}}
    django.setup()
    from dashboard.imports.runs.importer import work_on_next
    from dashboard.imports.sources import fetch
    from dashboard.imports.sources.worker import fetch_next
    from offers.url_checks.fetch.policy import Authorities
    from tests.hostile_server import loopback_policy

    fetch.POLICY = loopback_policy(authorities=lambda: Authorities(file=ca_file))
    stop = threading.Event()
    while True:
        if not (fetch_next(stop) or work_on_next(stop)):
            stop.wait(0.05)


if __name__ == "__main__":
    main()
