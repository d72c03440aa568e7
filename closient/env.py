"""Sources of settings: the environment, then the file in ``ENV_FILE`` (default `.env`)."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

import environ

ENV_FILE = Path(__file__).resolve().parent.parent / ".env"


def read_settings(variables: MutableMapping[str, str]) -> environ.Env:
    """Add the file's settings that are not in the variables; return a reader of all.

    With an empty ``ENV_FILE`` no file is read. Pass ``os.environ`` if this process and its children
    need the settings as environment variables, otherwise a copy.
    """

    class Variables(environ.Env):  # type: ignore[misc]
        ENVIRON = variables

    env_file = variables.get("ENV_FILE", str(ENV_FILE))
    if env_file:
        Variables.read_env(env_file)
    return Variables()
