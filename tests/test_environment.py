"""Tests do not affect the developer's own service: its `.env`, variables and database."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import setting_names
from tests.project_files import PROJECT, files

# Settings in a developer's `.env` that have each broken a test.
HOSTILE = {
    "ALLOWED_HOSTS": "nowhere.example",
    "API_LIMIT_ADDRESS_PER_MINUTE": "1",
    "API_LIMIT_PER_DAY": "2",
    "API_LIMIT_PER_MINUTE": "1",
    "DEBUG": "1",
    "HTTPS": "1",
    "IMAGE_STORAGE": "s3",
    "S3_BUCKET": "the-developers-own",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "URL_CHECK_CONCURRENCY": "1",
    "WEB_CONCURRENCY": "9",
}
SHOW_SETTINGS = """
import tests.environment
from closient import settings
for name in sorted(vars(settings)):
    # A function shows where it is in memory.
    if name.isupper() and name != "IMAGE_STORAGES":
        print(name, repr(getattr(settings, name)))
"""


@pytest.fixture
def developers_database() -> Iterator[socket.socket]:
    """A server in place of the developer's own, which records connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def url_of(listener: socket.socket) -> str:
    return f"postgres://closient@127.0.0.1:{listener.getsockname()[1]}/closient"


def assert_no_connection_was_made(listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()


def run(*words: str, cwd: Path = PROJECT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the given variables, without those set by this process."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in setting_names() and not name.startswith("PYTEST_")
    }
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=own | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_settings_of_tests_ignore_the_environment(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in HOSTILE.items()))
    hostile = {
        **HOSTILE,
        "ENV_FILE": str(env_file),
        "DJANGO_SETTINGS_MODULE": "nowhere.settings",
        "PGOPTIONS": "-c default_transaction_read_only=on",
        "http_proxy": "http://127.0.0.1:1",
    }
    plain = run("-c", SHOW_SETTINGS)
    assert plain.returncode == 0, plain.stderr
    assert "ALLOWED_HOSTS" in plain.stdout
    assert run("-c", SHOW_SETTINGS, **hostile).stdout == plain.stdout


def test_example_file_lists_every_setting() -> None:
    code = (PROJECT / "closient/settings.py").read_text() + (
        PROJECT / "gunicorn.conf.py"
    ).read_text()
    read = set(re.findall(r'\b(?:env\.\w+|environ\.get)\(\s*"([A-Z0-9_]+)"', code))
    assert len(read) > 30
    assert read <= setting_names()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project: a suite that runs there has its own databases."""
    folder = tmp_path / "copy"
    for path in files():
        target = folder / path.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


@pytest.mark.slow
def test_suite_passes_without_a_browser_and_reports_skipped_tests(
    copy: Path, tmp_path: Path
) -> None:
    without_browser = {"PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}
    done = run("-m", "pytest", "tests/test_web_login.py", cwd=copy, **without_browser)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ TESTS WERE SKIPPED: Chromium, Chrome or Edge was not found", done.stdout)


@pytest.mark.slow
def test_suite_uses_only_its_own_databases_despite_an_env_file(
    copy: Path, developers_database: socket.socket
) -> None:
    hostile = HOSTILE | {"DATABASE_URL": url_of(developers_database), "SECRET_KEY": "of .env"}
    (copy / ".env").write_text("".join(f"{name}={value}\n" for name, value in hostile.items()))

    # The limiter, processes that use the database of the tests, and one that makes its own.
    tests = ["tests/test_ratelimit.py", "tests/test_crash.py", "tests/test_run_worker.py"]
    done = run("-m", "pytest", *tests, cwd=copy)

    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[1-9]\d* passed", done.stdout)
    assert_no_connection_was_made(developers_database)
