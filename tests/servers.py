"""The project under gunicorn, with the database of the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode
from urllib.request import urlopen

import psutil
from django.db import connection

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 30.0


def environment(**more: str) -> dict[str, str]:
    """Return the environment of processes that use the test database."""
    settings = connection.settings_dict
    where = urlencode({"host": settings["HOST"], "port": settings["PORT"] or 5432})
    user = f"{quote(settings['USER'], '')}:{quote(settings.get('PASSWORD') or '', '')}"
    return {
        **os.environ,
        "DATABASE_URL": f"postgres://{user}@/{settings['NAME']}?{where}",
        "DEBUG": "0",
        "ALLOWED_HOSTS": "localhost,127.0.0.1",
        "API_LIMIT_ADDRESS_PER_MINUTE": "1000000",
        "WEB_CONCURRENCY": "1",
        **more,
    }


# The largest static file: more than the buffers of a connection hold.
LARGE_STATIC_FILE = "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


def collect_static_files(folder: Path) -> None:
    """Collect the large static file and those next to it, as an operator does."""
    ignored = ("--ignore=admin", "--ignore=closient", "--ignore=redoc", "--ignore=*.map")
    subprocess.run(
        [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0", *ignored],
        cwd=ROOT,
        env=environment(STATIC_ROOT=str(folder)),
        check=True,
    )
    assert (folder / LARGE_STATIC_FILE).stat().st_size > 1024 * 1024


@contextmanager
def serving(**variables: str) -> Iterator[tuple[int, psutil.Process]]:
    """Serve for a block that gets the port and the process, once the server responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}"],
            cwd=ROOT,
            env=environment(**variables),
            pass_fds=[listener.fileno()],
            # Not a pipe that no one reads: the server would wait when it is full.
            stderr=subprocess.DEVNULL,
        )
        try:
            # Waits in the queue of the listener until the server has started.
            with urlopen(
                f"http://localhost:{port}/healthz", timeout=TIMEOUT_SECONDS * 2
            ) as response:
                assert response.status == 200
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            # A client that does not read its response is given up after 30 seconds.
            process.wait(TIMEOUT_SECONDS * 2)


def free_port() -> int:
    """Return a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
