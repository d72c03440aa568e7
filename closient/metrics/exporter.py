"""Serves the sums over the web processes: ``python -m closient.metrics.exporter ADDRESS FOLDER``.

gunicorn starts it; it ends with gunicorn. It uses no database and loads no Django settings.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric, multiprocess, start_http_server

from closient.metrics import address
from closient.metrics.processes import locked

CHECK_INTERVAL_SECONDS = 0.5


class Sums:
    """The sums over all processes, read from their files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # It has no types.
        collector_class: Any = multiprocess.MultiProcessCollector
        self._collector = collector_class(CollectorRegistry(), path=str(folder))

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, while no process is added to the ended ones."""
        with locked(self._folder, fcntl.LOCK_SH):
            return list(self._collector.collect())


def main() -> int:
    """Serve until the parent process ends."""
    host, port = address.parse(sys.argv[1])
    folder = Path(sys.argv[2])
    parent = os.getppid()
    registry = CollectorRegistry()
    registry.register(Sums(folder))
    is_serving = has_failed = False
    while os.getppid() == parent:
        if not is_serving:
            try:
                start_http_server(port, host, registry)
            except OSError as error:
                # During an upgrade, the server before still uses the port.
                if not has_failed:
                    print(f"METRICS_BIND={sys.argv[1]}: {error}; retrying.", file=sys.stderr)
                has_failed = True
            else:
                is_serving = True
        time.sleep(CHECK_INTERVAL_SECONDS)
    # A killed parent could not remove it.
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
