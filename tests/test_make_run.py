"""The processes of `make run`, with a real private PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.programs import need
from tests.servers import free_port
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 120


def environment(folder: Path, port: object) -> dict[str, str]:
    """Return the environment of a first run, with the data in a folder."""
    return os.environ | {
        "DEBUG": "1",
        "DATABASE_URL": "",
        "DATA_FOLDER": str(folder),
        "PORT": str(port),
        # Output must appear at once without it.
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
    """Return the processes that use a data folder, including its database."""
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
    """Run the demo for a block with its output, then stop it and check that no process is left."""
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
        rest, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert rest == "\nStopped.\n"
    assert process.returncode == 0
    assert processes_of(folder) == []


def field(printed: str, name: str) -> str:
    match = re.search(rf"^ +{name} +(\S+)", printed, re.MULTILINE)
    assert match, printed
    return match[1]


def paste(printed: str) -> dict[str, int]:
    """Run the printed curl line, and return the JSON of the response."""
    line = next(line for line in printed.splitlines() if line.startswith("  curl "))
    command = [need("curl"), "--silent", "--show-error", "--fail", *shlex.split(line)[1:]]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    numbers: dict[str, int] = json.loads(result.stdout)
    return numbers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a space in its path."""
    return tmp_path / "data folder"


@pytest.mark.slow
def test_run_demo_serves_and_keeps_its_data_and_leaves_no_process(folder: Path) -> None:
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

        # A second one on the same port fails, and the first one keeps running.
        second = run_demo(folder, port)
        output, _ = second.communicate(timeout=TIMEOUT_SECONDS)
        assert second.returncode == 1
        assert output == (
            f"CommandError: Cannot use port {port} on 127.0.0.1 (Address already in use). Stop the "
            "program that uses it, or choose another port, for example: make run PORT=8001\n"
        )
        assert paste(first) == numbers

    with running(folder, port, signal.SIGTERM) as again:
        assert again == first.replace("Creating a demo catalog of 1,250 products ...\n", "")
        assert paste(again) == numbers

    # Closing the terminal stops it too. Without the file there is a new key, but no new password.
    (folder / "demo.json").unlink()
    with running(folder, port, signal.SIGHUP) as later:
        assert field(later, "password") == "the"
        assert field(later, "Organization") == field(first, "Organization")
        assert field(later, "API key") != field(first, "API key")
        assert paste(later) == numbers


@pytest.mark.slow
def test_pasted_demo_feed_gives_numbers_and_url_checks_within_a_minute(
    folder: Path, chromium: Browser
) -> None:
    with running(folder, free_port(), signal.SIGTERM) as printed:
        page = chromium.new_page()
        page.set_default_timeout(60_000)
        page.goto(field(printed, "Sources"))
        page.get_by_label("Email").fill(field(printed, "email"))
        page.get_by_label("Password", exact=True).fill(field(printed, "password"))
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Address of the file").fill(field(printed, "Feed to paste"))
        began = time.monotonic()
        page.get_by_role("button", name="Add the source").click()
        row = page.locator("tbody tr")
        expect(row).to_contain_text("78 new, 0 changed, 2 rejected", timeout=60_000)
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("main")).to_contain_text(re.compile(r"78\s+Products"))
        page.goto(page.url.rstrip("/") + "/offers?url_status=ok")

        def is_checked() -> bool:
            page.reload()
            # Without a table as long as no URL has been checked.
            return "Works" in " ".join(page.locator("tbody").all_inner_texts())

        wait_until(is_checked)
        assert time.monotonic() - began < 60
        page.get_by_role("link", name="Import").click()
        page.get_by_role("link", name="127.0.0.1").click()
        expect(page.locator("main")).to_contain_text("wrong check digit")
        page.close()


@pytest.mark.slow
@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "٣"])
def test_run_demo_rejects_an_invalid_port(folder: Path, port: str) -> None:
    process = run_demo(folder, port)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert output == f"CommandError: PORT must be a number from 1 to 65535; it is {port!r}.\n"
    assert not folder.exists()


@pytest.mark.slow
def test_run_demo_requires_debug(folder: Path) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "run_demo"],
        cwd=PROJECT,
        env=environment(folder, free_port()) | {"DEBUG": "0"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("CommandError: The demo creates an administrator")
    assert not folder.exists()
