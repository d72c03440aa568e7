"""docker-compose.yml: valid, and each service has few rights and limited resources."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from typing import Any

import pytest
import yaml

from tests import programs
from tests.project_files import PROJECT

FILE = PROJECT / "docker-compose.yml"
NGINX_CONFIGURATION = PROJECT / "closient" / "nginx" / "nginx.conf"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNITS = {"s": 1, "m": 60}


def seconds(duration: str) -> int:
    return int(duration[:-1]) * UNITS[duration[-1]]


def test_file_is_valid() -> None:
    compose = programs.need("docker-compose")
    command = [compose, "--file", str(FILE), "config", "--quiet"]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        # Without variables of the developer: the defaults must be complete.
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # It does validate: a misspelled key is an error.
    invalid = FILE.read_text().replace("cap_drop:", "cap_dropped:")
    done = subprocess.run(
        [compose, "--file", "-", "config", "--quiet"],
        cwd=PROJECT,
        input=invalid,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "cap_dropped" in done.stderr


def test_log_settings_reach_the_service() -> None:
    compose = programs.need("docker-compose")
    for variables, log in (
        ({}, ("text", "1")),
        ({"LOG_FORMAT": "json"}, ("json", "1")),
        ({"ACCESS_LOG": "0", "SENTRY_DSN": "https://key@sentry.example/1"}, ("text", "0")),
    ):
        done = subprocess.run(
            [compose, "--file", str(FILE), "config"],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        services = yaml.safe_load(done.stdout)["services"]
        for name in ("web", "worker", "migrate"):
            found = services[name]["environment"]
            assert (found["LOG_FORMAT"], found["ACCESS_LOG"]) == log
            # An empty value would be one.
            assert found.get("SENTRY_DSN") == variables.get("SENTRY_DSN")


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_few_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    # Images of others start as root by default, ours does not.
    if "build" not in service:
        assert service["user"] not in ("root", "0")
    for volume in service.get("volumes", []):
        source, _, rest = volume.rpartition("}")[2].partition(":")
        assert "docker.sock" not in volume
        # Files of the host are mounted read-only.
        if "/" in volume.split(":")[0] or "}" in volume or source.startswith("."):
            assert rest.endswith(":ro"), volume


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_limited_resources(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\$\{[A-Z_]+:-\d+[mg]\}", service["mem_limit"])
    assert service["pids_limit"] <= 400
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


@pytest.mark.parametrize("name", SERVICES)
def test_image_of_others_is_pinned_by_digest(name: str) -> None:
    service = SERVICES[name]
    if "build" not in service:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"])
    base = (PROJECT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=python:[\w.-]+@sha256:[0-9a-f]{64}$", base, re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_running_service_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] in ("on-failure", "no"):
        # It runs once.
        assert service["healthcheck"] == {"disable": True}
    else:
        # Without one, it has that of the image.
        assert "test" in service.get("healthcheck", {"test": "HEALTHCHECK"})
        assert "HEALTHCHECK" in (PROJECT / "Dockerfile").read_text()


def test_services_stop_before_docker_kills_them() -> None:
    grace = {
        name: seconds(service.get("stop_grace_period", "10s")) for name, service in SERVICES.items()
    }
    gunicorn = runpy.run_path(str(PROJECT / "gunicorn.conf.py"))
    assert grace["web"] > gunicorn["graceful_timeout"] + 5
    (shutdown,) = re.findall(r"worker_shutdown_timeout (\w+);", NGINX_CONFIGURATION.read_text())
    assert grace["proxy"] > seconds(shutdown) + 5
    # Fetching a URL takes up to half a minute; a checkpoint of the database can take longer.
    assert grace["worker"] >= 60
    assert grace["database"] >= 120


def test_no_environment_has_a_secret() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            is_secret = re.search(r"(?:^SECRET_KEY|PASSWORD|TOKEN|ACCESS_KEY)$", variable)
            assert not is_secret, (name, variable)
            # A URL has a user, and no password.
            assert not re.search(r"://[^/@\s]*:[^/@\s]*@", str(value)), (name, variable)


def test_only_the_proxy_has_ports_and_by_default_on_this_machine() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert all(port.startswith("${LISTEN:-127.0.0.1}:") for port in SERVICES["proxy"]["ports"])


def test_proxy_cannot_reach_the_database() -> None:
    assert not set(SERVICES["proxy"]["networks"]) & set(SERVICES["database"]["networks"])
    assert set(SERVICES["proxy"]["networks"]) & set(SERVICES["web"]["networks"])
