"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings

from closient.accounts import ratelimit
from closient.accounts.models import Organization
from offers.url_checks.fetch.urls import PORTS
from tests import programs
from tests.emptying import replace_flush
from tests.factories import OrganizationFactory, UserFactory
from tests.hostile_server import loopback_policy
from tests.operations import SampleData, sample_data
from tests.servers import collect_static_files

pytest_plugins = ["tests.browser", "tests.import_fixtures"]

replace_flush()

# The time of an example depends on how busy the machine is. The examples are the same each time, so
# that a change fails on what it breaks; ``make campaign-fuzz`` looks for new ones.
hypothesis_settings.register_profile(
    "ours",
    deadline=None,
    derandomize="GENERATED_CATALOGS" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("ours")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print in red which tests were skipped because a program is missing."""
    skipped = terminalreporter.stats.get("skipped", [])
    for line in programs.summary(str(report.longrepr) for report in skipped):
        terminalreporter.write_line(line, red=True, bold=True)


@pytest.fixture(autouse=True)
def _clear_rate_limits() -> None:
    """Clear the rate limits that this process keeps in memory."""
    ratelimit.keyless_requests.clear()
    ratelimit.page_requests.clear()


@pytest.fixture(autouse=True)
def _loopback_checks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checks of URLs connect to this machine only."""
    monkeypatch.setattr("offers.url_checks.check_now.POLICY", loopback_policy(ports=PORTS))


@pytest.fixture
def organization() -> Organization:
    return OrganizationFactory(name="Alpine Foods")


@pytest.fixture
def own() -> SampleData:
    """The rows of the caller's organization."""
    return sample_data()


@pytest.fixture
def foreign() -> SampleData:
    """The rows of another organization."""
    return sample_data()


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Path:
    """A temporary folder for uploaded images, which are served."""
    settings.MEDIA_ROOT = tmp_path
    settings.SERVE_IMAGES = True
    return tmp_path


@pytest.fixture
def staff(client: Client) -> Client:
    """The client of a superuser in the admin."""
    client.force_login(UserFactory(is_staff=True, is_superuser=True, password=None))
    return client


@pytest.fixture(autouse=True)
def _files_folders(settings: Settings, tmp_path: Path) -> None:
    """Store the files of imports, images and certificates in temporary folders."""
    settings.MEDIA_ROOT = tmp_path / "media"
    kept = settings.STORAGES["imports"]
    settings.STORAGES = settings.STORAGES | {
        "imports": {**kept, "OPTIONS": {**kept["OPTIONS"], "location": tmp_path / "imports"}}
    }


@pytest.fixture(autouse=True)
def _cheap_passwords(settings: Settings) -> None:
    """Hash passwords quickly: real hashes take a second each by design."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def static_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with collected static files."""
    folder = tmp_path_factory.mktemp("static")
    collect_static_files(folder)
    return folder
