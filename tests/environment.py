"""The environment of the tests, set before the settings are read (a pytest plugin).

Tests and the processes they start take their settings only from here: not from ``.env``, which
belongs to the developer's own service, and not from the shell. ``DATABASE_URL`` in the
environment (with ``DATABASE_PASSWORD``) is the one exception: it is the server where test databases
are created.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
_SETTING = re.compile(r"^#?([A-Z][A-Z0-9_]*)=", re.MULTILINE)
# Variables that libpq may need to log in to the server of DATABASE_URL.
_LOGIN = ("PGPASSWORD", "PGPASSFILE", "PGSSL")
# Variables that describe where the tests run, not how the service is set up.
_KEPT = {"DATABASE_URL", "DATABASE_PASSWORD", "POSTGRES_BIN"}


def setting_names() -> set[str]:
    """Return the names of all settings, as ``.env.example`` lists them."""
    return set(_SETTING.findall((PROJECT / ".env.example").read_text()))


def isolate(variables: MutableMapping[str, str]) -> None:
    """Remove variables that affect the tests, and set those they need."""
    names = setting_names()
    for name in [*variables]:
        # A setting can also come from the file that NAME_FILE names.
        is_setting = name in names - _KEPT or name.removesuffix("_FILE") in names - {name}
        is_libpq = name.startswith("PG") and not name.startswith(_LOGIN)
        # Tests connect only to this machine, without a proxy.
        is_proxy = name.lower().endswith("_proxy")
        if is_setting or is_libpq or is_proxy:
            del variables[name]
    variables.update(
        {
            "ENV_FILE": "",
            # In pytest-django the environment overrides pyproject.toml.
            "DJANGO_SETTINGS_MODULE": "closient.settings",
            # As in production, but the test client uses plain HTTP.
            "DEBUG": "0",
            "HTTPS": "0",
            # Settings require a key; tests need no secret one.
            "SECRET_KEY": "only for tests, nothing else is signed with it",
            "ALLOW_EMBEDDED_POSTGRES": "1",
            # Files and the private PostgreSQL of the tests, separate from those of `make run`.
            "DATA_FOLDER": str(PROJECT / ".data" / "tests"),
        }
    )


isolate(os.environ)
