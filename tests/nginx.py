"""nginx in front of the service, with the configuration that docker-compose.yml uses."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests import programs
from tests.servers import ROOT, free_port
from tests.wire import TIMEOUT_SECONDS, connect

FOLDER = ROOT / "closient" / "nginx"
CONFIGURATION = FOLDER / "nginx.conf"


class Proxy(NamedTuple):
    """A running nginx."""

    port: int
    https_port: int
    # The folder of images, which nginx serves itself.
    media: Path


@contextmanager
def proxying(folder: Path, *behind: int) -> Iterator[Proxy]:
    """Run nginx in front of the services on some ports, with its files in a folder.

    It serves HTTPS if the folder `certificates` in it has a certificate.
    """
    port, https_port = free_port(), free_port()
    media = folder / "media" / "products"
    media.mkdir(parents=True)
    https = folder / "nginx-https.conf"
    subprocess.run([FOLDER / "listen_https.sh", folder / "certificates", https], check=True)
    if https.exists():
        https.write_text(
            https.read_text().replace("listen 8443 ", f"listen 127.0.0.1:{https_port} ")
        )
    text = CONFIGURATION.read_text()
    # Ports, folders and names of this machine instead of those of the containers.
    for found, here in (
        ("resolver 127.0.0.11 valid=1s ipv6=off;", ""),
        ("server web:8000 resolve;", "".join(f"server 127.0.0.1:{each};" for each in behind)),
        ("listen 8080 ", f"listen 127.0.0.1:{port} "),
        ("/data/media/products/", f"{media}/"),
        ("/tmp/nginx", f"{folder}/nginx"),  # noqa: S108
        ("include mime.types;", "include /etc/nginx/mime.types;"),
        ("error_log /dev/stderr", f"error_log {folder}/error.log"),
    ):
        assert found in text
        text = text.replace(found, here)
    # Otherwise, as root, nginx reads the files with its own account.
    account = f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    file = folder / "nginx.conf"
    file.write_text(f"daemon off;\nuser {account};\n{text}")
    process = subprocess.Popen([programs.need("nginx"), "-c", str(file)], stderr=subprocess.PIPE)
    try:
        _wait_for(port, process)
        yield Proxy(port, https_port, media)
    finally:
        process.terminate()
        _, printed = process.communicate(timeout=TIMEOUT_SECONDS)
        assert b"[emerg]" not in printed


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            connect(port).close()
        except OSError:
            continue
        return
    raise AssertionError("nginx does not listen")
