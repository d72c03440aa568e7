"""Settings from files, rotation of the secret key, and combinations that are rejected."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from closient.env import read_settings
from closient.unsafe_settings import reject_unsafe
from tests.factories import UserFactory
from tests.project_files import PROJECT

KEY = "0123456789abcdefghijklmnopqrstuvwxyz"


def load(**variables: str) -> subprocess.CompletedProcess[str]:
    """Read the settings in a process, and print what came from the variables."""
    code = (
        "from closient import settings as s; import os; "
        "print(s.SECRET_KEY, s.DATABASES['default']['PASSWORD'], os.environ.get('SECRET_KEY'))"
    )
    base = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",
        "DATABASE_URL": "postgres://closient@127.0.0.1:1/none",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=base | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_secrets_are_read_from_files_and_not_added_to_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "password").write_text("p@ss/word:%41#\n")
    shown = load(
        SECRET_KEY_FILE=str(tmp_path / "key"), DATABASE_PASSWORD_FILE=str(tmp_path / "password")
    )
    assert shown.stdout == f"{KEY} p@ss/word:%41# None\n", shown.stderr
    # A password in the URL takes precedence.
    shown = load(
        SECRET_KEY=KEY, DATABASE_URL="postgres://u:in-url@h/n", DATABASE_PASSWORD="another"
    )
    assert shown.stdout.split() == [KEY, "in-url", KEY]


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, reason in (
        ("missing", "cannot be read: No such file or directory."),
        ("empty", "is empty."),
        ("binary", "cannot be read: it is not text."),
        (".", "cannot be read: Is a directory."),
    ):
        file = str(tmp_path / name)
        with pytest.raises(ImproperlyConfigured) as caught:
            read_settings({"ENV_FILE": "", "SECRET_KEY_FILE": file}).str("SECRET_KEY", default="")
        assert str(caught.value) == f"SECRET_KEY_FILE is {file!r}, and this file {reason}"
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY and SECRET_KEY_FILE are both set"):
        read_settings({"ENV_FILE": "", "SECRET_KEY": "a", "SECRET_KEY_FILE": "b"}).str("SECRET_KEY")


def test_values_of_the_wrong_type_are_named() -> None:
    env = read_settings({"ENV_FILE": "", "A": "10 s", "B": "ture", "C": "x", "D": "Yes", "E": ""})
    for read, sentence in (
        (lambda: env.int("A", default=1), "A is '10 s': it must be a whole number."),
        (lambda: env.bool("B", default=False), "B is 'ture': it must be 1 or 0."),
        (lambda: env.float("C", default=1.0), "C is 'x': it must be a number."),
    ):
        with pytest.raises(ImproperlyConfigured) as caught:
            read()
        assert str(caught.value) == sentence
    assert (env.bool("D"), env.bool("E"), env.bool("F", default=True)) == (True, False, True)
    assert (env.int("F", default=7), env.list("F", default=["a"])) == (7, ["a"])


def test_commands_print_only_the_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", "SECRET_KEY": KEY, "DEBUG": "ture"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "Error in the settings: DEBUG is 'ture': it must be 1 or 0.\n"


@pytest.mark.django_db
def test_sessions_survive_a_change_of_the_secret_key(client: Client, settings: Settings) -> None:
    client.force_login(UserFactory())
    page, old = reverse("password"), settings.SECRET_KEY
    settings.SECRET_KEY = KEY
    settings.SECRET_KEY_FALLBACKS = [old]
    assert client.get(page).status_code == 200
    # The session is signed with the new key from now on.
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get(page).status_code == 200
    settings.SECRET_KEY = KEY[::-1]
    assert client.get(page).status_code == 302


SAFE: dict[str, Any] = {
    "DEBUG": False,
    "SECRET_KEY": KEY,
    "SECRET_KEY_FALLBACKS": [],
    "ALLOWED_HOSTS": ["dashboard.example.com"],
    "HTTPS": True,
    "HSTS_SECONDS": 3600,
    "TRUSTED_PROXIES": [ipaddress.ip_network("10.0.0.0/8")],
    "S3_SIGNED_ADDRESSES": False,
    "DEMO_SHOP_PORT": 0,
    "S3_PUBLIC_HOST": "",
    "S3_BUCKET": "",
    "IMPORT_BUCKET": "",
    "STATIC_ROOT": Path("/srv/static"),
    "DATA_FOLDER": Path("/srv/data"),
}
LOCAL = {
    "DEBUG": True,
    "HTTPS": False,
    "HSTS_SECONDS": 0,
    "SECRET_KEY": "short",
    "ALLOWED_HOSTS": ["127.0.0.1", "localhost", "[::1]", "192.168.1.7", "me.local", "laptop"],
}


@pytest.mark.parametrize(
    "safe",
    [
        {},
        LOCAL,
        {"HTTPS": False, "HSTS_SECONDS": 0},
        {"S3_SIGNED_ADDRESSES": True, "S3_BUCKET": "a", "IMPORT_BUCKET": "b"},
        {"DATA_FOLDER": Path("/srv/static-and-more")},
    ],
)
def test_safe_settings_are_accepted(safe: dict[str, Any]) -> None:
    reject_unsafe(SAFE | safe)


@pytest.mark.parametrize(
    ("unsafe", "sentence"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY is easy to guess"),
        ({"SECRET_KEY": "ab" * 30}, "SECRET_KEY is easy to guess"),
        ({"SECRET_KEY": KEY[:31]}, "SECRET_KEY is easy to guess"),
        ({"SECRET_KEY_FALLBACKS": [KEY, "short"]}, "SECRET_KEY_FALLBACKS is easy to guess"),
        ({"ALLOWED_HOSTS": ["a.example.com", "*"]}, "ALLOWED_HOSTS is *"),
        ({"DEBUG": True}, "ALLOWED_HOSTS has dashboard.example.com, a public name"),
        (LOCAL | {"ALLOWED_HOSTS": [".closient.com"]}, "DEBUG shows error details"),
        (LOCAL | {"ALLOWED_HOSTS": ["8.8.8.8"]}, "DEBUG shows error details"),
        ({"DEMO_SHOP_PORT": 18000}, "DEMO_SHOP_PORT lets URL checks"),
        ({"HTTPS": False}, "HSTS_SECONDS tells browsers"),
        ({"TRUSTED_PROXIES": [ipaddress.ip_network("0.0.0.0/0")]}, "TRUSTED_PROXIES has 0.0.0.0/0"),
        ({"TRUSTED_PROXIES": [ipaddress.ip_network("::/0")]}, "TRUSTED_PROXIES has ::/0"),
        ({"S3_SIGNED_ADDRESSES": True, "S3_PUBLIC_HOST": "a.com"}, "S3_SIGNED_ADDRESSES needs"),
        ({"IMPORT_BUCKET": "a", "S3_BUCKET": "a"}, "are the same bucket"),
        ({"DATA_FOLDER": Path("/srv/static/data")}, "inside of STATIC_ROOT"),
    ],
)
def test_unsafe_settings_are_rejected_with_one_sentence(
    unsafe: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        reject_unsafe(SAFE | unsafe)
    (line,) = str(caught.value).splitlines()
    assert sentence in line
    assert line.endswith(".")


def test_service_does_not_start_with_unsafe_settings() -> None:
    for variables, sentence in (
        ({"SECRET_KEY": "short"}, "SECRET_KEY is easy to guess"),
        ({"SECRET_KEY": KEY, "TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES: 10.0.0.1/8 has"),
        ({"SECRET_KEY": KEY, "DATABASE_URL": "sqlite:///a"}, "must start with postgres://"),
        ({"SECRET_KEY": KEY, "HTTPS": "0", "HSTS_SECONDS": "60"}, "HSTS_SECONDS tells browsers"),
        ({"SECRET_KEY": KEY, "IMAGE_STORAGE": "s3"}, "set S3_BUCKET"),
    ):
        shown = load(**variables)
        assert shown.returncode == 1
        assert sentence in shown.stderr.splitlines()[-1]
