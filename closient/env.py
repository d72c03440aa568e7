"""Sources of settings: the environment, then the file in ``ENV_FILE`` (default `.env`).

Each setting can also be read from a separate file, such as a secret of Docker or systemd:
``SECRET_KEY_FILE`` names the file with the value of ``SECRET_KEY``.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

# The values of settings that are on or off. django-environ takes all others for "off".
SWITCHES = {"", "0", "1", "false", "true", "no", "yes", "off", "on", "n", "y", "ok"}
ENV_FILE = Path(__file__).resolve().parent.parent / ".env"


class FileAwareMapping(environ.FileAwareMapping):  # type: ignore[misc]
    """Variables whose values may be in files, with clear errors for those that are not."""

    def __getitem__(self, name: str) -> str:
        """Return a value, without surrounding whitespace if it comes from a file."""
        file = self.env.get(f"{name}_FILE")
        if not file:
            return str(self.env[name])
        if self.env.get(name):
            raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: remove one of them.")
        try:
            value = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ImproperlyConfigured(
                f"{name}_FILE is {file!r}, and this file cannot be read: {reason}."
            ) from None
        if not value:
            raise ImproperlyConfigured(f"{name}_FILE is {file!r}, and this file is empty.")
        return value


class StrictEnv(environ.Env):  # type: ignore[misc]
    """A reader that rejects values of the wrong type with a sentence."""

    def get_value(
        self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, *args: Any, **more: Any
    ) -> Any:
        """Return the value of a variable. Raises ``ImproperlyConfigured``."""
        if cast is bool and var in self.ENVIRON and self.ENVIRON[var].lower() not in SWITCHES:
            raise ImproperlyConfigured(f"{var} is {self.ENVIRON[var]!r}: it must be 1 or 0.")
        try:
            return super().get_value(var, cast, default, *args, **more)
        except ValueError:
            kind = {int: "a whole number", float: "a number"}.get(cast, "valid")
            raise ImproperlyConfigured(
                f"{var} is {self.ENVIRON[var]!r}: it must be {kind}."
            ) from None


def read_settings(variables: MutableMapping[str, str]) -> environ.Env:
    """Add the file's settings that are not in the variables; return a reader of all.

    With an empty ``ENV_FILE`` no file is read. Pass ``os.environ`` if this process and its children
    need the settings as environment variables, otherwise a copy. The contents of files that hold
    one setting are never added: they are secrets, and the environment is not.
    """

    class EnvFile(environ.Env):  # type: ignore[misc]
        ENVIRON = variables

    class Variables(StrictEnv):
        ENVIRON = FileAwareMapping(variables)

    env_file = variables.get("ENV_FILE", str(ENV_FILE))
    if env_file:
        EnvFile.read_env(env_file)
    return Variables()


# Names that DATABASES has for other purposes.
RESERVED_CELLS = {"default", "directory", "replica"}
_CELL = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")
# A URL may contain commas: the hosts of a cell.
_BETWEEN_CELLS = re.compile(r",\s*(?=[^,=/]*=\s*postgres)")


def read_cells(text: str) -> dict[str, str]:
    """Return the URLs in the setting ``CELLS`` (``north=postgres://...,south=...``) by name.

    Raises ``ImproperlyConfigured``; the message contains no URL, as it may have a password.
    """
    cells: dict[str, str] = {}
    for entry in filter(None, map(str.strip, _BETWEEN_CELLS.split(text))):
        name, is_pair, url = entry.partition("=")
        name, url = name.strip(), url.strip()
        if not is_pair or not _CELL.match(name) or not url.startswith(("postgres:", "postgresql:")):
            raise ImproperlyConfigured(
                "CELLS must look like north=postgres://...,south=postgres://...: names are lower "
                "case letters, digits and underscores."
            )
        if name in RESERVED_CELLS or name in cells:
            raise ImproperlyConfigured(
                f"CELLS has a cell named {name}: names are unique, and "
                f"{', '.join(sorted(RESERVED_CELLS))} are reserved."
            )
        cells[name] = url
    return cells
