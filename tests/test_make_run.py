"""What `make run` starts, as a newcomer meets it: real processes, a real private PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.programs import need

PROJECT = Path(__file__).resolve().parent.parent
PATIENCE = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def environment(folder: Path, port: object) -> dict[str, str]:
    """Return the environment that .env of a first run makes, with the data in a folder."""
    return os.environ | {
        "DEBUG": "1",
        "DATABASE_URL": "",
        "DATA_FOLDER": str(folder),
        "PORT": str(port),
        # A newcomer does not set it: what is printed comes at once all the same.
        "PYTHONUNBUFFERED": "",
    }


def run_demo(folder: Path, port: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "run_demo"],
        cwd=PROJECT,
        env=environment(folder, port),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes that work with a data folder: its database above all."""
    found = []
    for process in psutil.process_iter():
        try:
            command, data = process.cmdline(), process.environ().get("DATA_FOLDER")
        except psutil.Error:
            continue
        if data == str(folder) or any(str(folder) in word for word in command):
            found.append(process)
    return [process for process in found if process.pid != os.getpid()]


@contextmanager
def running(folder: Path, port: int, stop: signal.Signals) -> Iterator[str]:
    """Run the demo for a block that gets what it printed, then stop it and see that all is gone."""
    process = run_demo(folder, port)
    assert process.stdout is not None
    printed = ""
    try:
        for line in process.stdout:
            printed += line
            if line.startswith("  curl "):
                break
        assert "curl" in printed, printed
        yield printed
    finally:
        process.send_signal(stop)
        rest, _ = process.communicate(timeout=PATIENCE)
    assert rest == "\nStopped.\n"
    assert process.returncode == 0
    assert processes_of(folder) == []


def field(printed: str, name: str) -> str:
    match = re.search(rf"^ +{name} +(\S+)", printed, re.MULTILINE)
    assert match, printed
    return match[1]


def paste(printed: str) -> dict[str, int]:
    """Run the printed curl line as it stands, and return the JSON that it answers."""
    line = next(line for line in printed.splitlines() if line.startswith("  curl "))
    command = [need("curl"), "--silent", "--show-error", "--fail", *shlex.split(line)[1:]]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    numbers: dict[str, int] = json.loads(answer.stdout)
    return numbers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose path has a blank in it."""
    return tmp_path / "data folder"


@pytest.mark.slow
def test_run_demo_serves_keeps_its_data_and_leaves_no_process(folder: Path) -> None:
    port = free_port()
    with running(folder, port, signal.SIGINT) as first:
        numbers = paste(first)
        assert list(numbers) == [
            "total_products",
            "complete_products",
            "avg_completeness",
            "active_offers",
            "broken_offers",
            "expiring_certifications",
            "missing_images",
        ]
        assert numbers["total_products"] == 1250
        assert (folder / "demo.json").stat().st_mode & 0o777 == 0o600

        # A second one on the same port says so and leaves the first one alone.
        second = run_demo(folder, port)
        said, _ = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert said == (
            f"CommandError: Port {port} of 127.0.0.1 cannot be used (Address already in use): "
            "stop what runs there, or choose another one, as in: make run PORT=8001\n"
        )
        assert paste(first) == numbers

    with running(folder, port, signal.SIGTERM) as again:
        assert again == first.replace("Making a demo catalogue of 1,250 products ...\n", "")
        assert paste(again) == numbers

    # Closing the terminal stops it too; a lost file costs a new key, never a known password.
    (folder / "demo.json").unlink()
    with running(folder, port, signal.SIGHUP) as later:
        assert field(later, "password") == "as"
        assert field(later, "Organization") == field(first, "Organization")
        assert field(later, "API key") != field(first, "API key")
        assert paste(later) == numbers


@pytest.mark.slow
@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "٣"])
def test_run_demo_refuses_what_is_no_port(folder: Path, port: str) -> None:
    process = run_demo(folder, port)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert said == f"CommandError: PORT must be a number from 1 to 65535; it is {port!r}.\n"
    assert not folder.exists()


@pytest.mark.slow
def test_run_demo_refuses_to_run_without_debug(folder: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "manage.py", "run_demo"],
        cwd=PROJECT,
        env=environment(folder, free_port()) | {"DEBUG": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("CommandError: The demo makes an administrator")
    assert not folder.exists()
