"""A private PostgreSQL for development and tests: the first connection starts it, and it stops
after the last process that uses it has ended.

The module `base` is a Django database backend; `database_settings()` returns its `DATABASES` entry.
"""

import os
from pathlib import Path
from typing import Any

from closient.embedded_postgres.layout import DATABASE, PORT, ROLE, Layout


def database_settings(data_folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a Django `DATABASES` entry for the private server with its data in `data_folder`.

    Starts and creates nothing, and needs neither Django nor PostgreSQL: the first connection does.
    """
    layout = Layout(Path(data_folder))
    return {
        "ENGINE": "closient.embedded_postgres",
        "NAME": DATABASE,
        "USER": ROLE,
        "HOST": str(layout.socket_folder),
        "PORT": str(PORT),
        "DATA_FOLDER": str(layout.root),
    }
