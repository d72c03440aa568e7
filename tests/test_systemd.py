"""The systemd units, and nginx's configuration for a Debian machine."""

from __future__ import annotations

import configparser
import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from tests import programs
from tests.nginx import CONFIGURATION, FOLDER
from tests.project_files import PROJECT

UNITS = PROJECT / "closient" / "systemd"
SERVICES = ("closient-web.service", "closient-worker.service")
BACKUP = "closient-backup.service"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(UNITS / name)
    return parser


@pytest.mark.parametrize("name", [*SERVICES, BACKUP])
def test_service_has_few_rights_and_limited_resources(name: str) -> None:
    service = unit(name)["Service"]
    assert service["User"] == ("postgres" if name == BACKUP else "closient")
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    for switch in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome"):
        assert service[switch] == "true"
    assert {"MemoryMax", "TasksMax", "SystemCallFilter"} <= {*service}
    assert service["Restart"] == "always"


def test_backup_runs_the_script_of_the_guide() -> None:
    service = unit(BACKUP)["Service"]
    program, _, command = service["ExecStart"].partition(" ")
    assert command == "run"
    assert os.access(PROJECT / Path(program).relative_to("/opt/closient"), os.X_OK)
    assert service["ReadWritePaths"] == "/var/backups/closient"
    assert "-m 700 /var/backups/closient" in (PROJECT / "docs" / "backup.md").read_text()


def test_services_stop_before_systemd_kills_them() -> None:
    graceful = runpy.run_path(str(PROJECT / "gunicorn.conf.py"))["graceful_timeout"]
    assert int(unit(SERVICES[0])["Service"]["TimeoutStopSec"]) > graceful + 5
    assert int(unit(SERVICES[1])["Service"]["TimeoutStopSec"]) >= 60


def test_units_are_those_that_the_guide_installs() -> None:
    guide = (PROJECT / "docs" / "deploying.md").read_text()
    assert "install -m 644 closient/systemd/closient-* /etc/systemd/system" in guide
    others = {"closient-web.socket", BACKUP}
    assert {path.name for path in UNITS.glob("closient-*")} == {*SERVICES, *others}
    # The guide's settings and files are where the units look for them.
    for name in SERVICES:
        assert unit(name)["Service"]["Environment"].startswith(
            "ENV_FILE=/etc/closient/dashboard.env"
        )
        assert unit(name)["Service"]["WorkingDirectory"] == "/opt/closient"
    assert unit("closient-web.socket")["Socket"]["ListenStream"] == "127.0.0.1:8000"


def test_nginx_accepts_the_configuration_for_debian(tmp_path: Path) -> None:
    nginx = programs.need("nginx")
    changed = subprocess.run(
        ["sed", "-f", FOLDER / "debian.sed", CONFIGURATION],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Nothing of the containers is left.
    assert not re.search(r"web:8000|/data/|/tmp/|resolver |8080", changed)
    assert "server 127.0.0.1:8000;" in changed
    # Folders of this test instead of the machine's.
    for folder in ("/run/", "/var/lib/nginx/", "/var/log/nginx/", "/etc/nginx/https"):
        assert folder in changed
        changed = changed.replace(folder, f"{tmp_path}/{folder.strip('/').replace('/', '-')}")
    changed = changed.replace("include mime.types", "include /etc/nginx/mime.types")
    file = tmp_path / "nginx.conf"
    file.write_text(changed)
    done = subprocess.run(
        [nginx, "-t", "-c", file], capture_output=True, text=True, check=False, env=os.environ
    )
    assert "syntax is ok" in done.stderr, done.stderr
    # Port 80 needs root; the syntax does not.
    assert done.returncode == 0 or "bind() to 0.0.0.0:80" in done.stderr
