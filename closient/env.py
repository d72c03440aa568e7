"""Where settings come from: the environment, then the file that ``ENV_FILE`` names (`.env`)."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

import environ

ENV_FILE = Path(__file__).resolve().parent.parent / ".env"


def read_settings(variables: MutableMapping[str, str]) -> environ.Env:
    """Add to the variables what the file has beyond them, and return a reader of all.

    An empty ``ENV_FILE`` reads no file. Pass ``os.environ`` where this process and its children
    need the settings as variables, else a copy.
    """

    class Variables(environ.Env):  # type: ignore[misc]
        ENVIRON = variables

    env_file = variables.get("ENV_FILE", str(ENV_FILE))
    if env_file:
        Variables.read_env(env_file)
    return Variables()
