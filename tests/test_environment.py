"""Tests do not affect the developer's own service: its `.env`, variables and database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import setting_names
from tests.hostile_environment import HOSTILE, HOSTILE_SHELL, copy_project, nonsense, run_tests
from tests.project_files import PROJECT

SHOW_SETTINGS = """
import tests.environment
from closient import settings
for name in sorted(vars(settings)):
    # A function shows where it is in memory.
    if name.isupper() and name != "IMAGE_STORAGES":
        print(name, repr(getattr(settings, name)))
"""


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
    hostile = [
        {**HOSTILE, **HOSTILE_SHELL, "ENV_FILE": str(env_file)},
        nonsense(),
    ]
    plain = run("-c", SHOW_SETTINGS)
    assert plain.returncode == 0, plain.stderr
    assert "ALLOWED_HOSTS" in plain.stdout
    for variables in hostile:
        assert run("-c", SHOW_SETTINGS, **variables).stdout == plain.stdout


def test_example_file_lists_every_setting() -> None:
    code = (PROJECT / "closient/settings.py").read_text() + (
        PROJECT / "gunicorn.conf.py"
    ).read_text()
    read = set(re.findall(r'\b(?:env\.\w+|environ\.get)\(\s*"([A-Z0-9_]+)"', code))
    assert len(read) > 30
    assert read <= setting_names()


@pytest.mark.slow
@pytest.mark.campaign
def test_suite_passes_without_a_browser_and_reports_skipped_tests(
    tmp_path: Path,
) -> None:
    copy = copy_project(tmp_path / "copy")
    without_browser = {"PATH": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}
    done = run("-m", "pytest", "tests/test_web_login.py", cwd=copy, **without_browser)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d+ TESTS WERE SKIPPED: Chromium, Chrome or Edge was not found", done.stdout)


@pytest.mark.slow
@pytest.mark.campaign
def test_suite_uses_only_its_own_databases_despite_hostile_settings(tmp_path: Path) -> None:
    # The limiter, a server, processes that use the tests' database, and one that makes its own.
    tests = ("ratelimit", "serving_requests", "run_worker", "settings", "crash")
    done, touched = run_tests(tmp_path / "copy", *(f"tests/test_{name}.py" for name in tests))
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[1-9]\d* passed", done.stdout)
    assert touched == []
