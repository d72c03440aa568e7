"""Worker processes on the database of the tests."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import ROOT, environment

TIMEOUT_SECONDS = 60.0


class Worker:
    """`manage.py run_worker`, with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / f"worker-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "run_worker"],
                cwd=ROOT,
                env=environment(DATA_FOLDER=str(folder)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """Return its output so far."""
        return self._log.read_text()

    def wait_for(self, is_true: Callable[[], object]) -> None:
        """Wait for a condition while it runs."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not is_true():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            threading.Event().wait(0.02)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return its exit status."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends and return its exit status."""
        return self._process.wait(TIMEOUT_SECONDS)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def working(folder: Path, count: int = 1) -> Iterator[list[Worker]]:
    """Run a number of workers for a block, which starts when they are ready."""
    workers = [Worker(folder) for _ in range(count)]
    try:
        for worker in workers:
            worker.wait_for(lambda worker=worker: "worker: started" in worker.log)  # type: ignore[misc]
        yield workers
    finally:
        for worker in workers:
            worker.kill()
