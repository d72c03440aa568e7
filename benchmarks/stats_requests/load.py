"""Requests per second of one URL: measured by wrk if it is installed, otherwise by threads."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping


def requests_per_second(
    port: int, path: str, headers: Mapping[str, str], *, clients: int, seconds: float
) -> float:
    """Return the number of responses with status 200 per second.

    Raises ``RuntimeError`` for another status.
    """
    by = _by_wrk if shutil.which("wrk") else _by_threads
    return by(port, path, headers, clients, seconds)


def generator() -> str:
    """Return the name of the load generator, for the caption of the table."""
    return "wrk" if shutil.which("wrk") else "threads of Python"


def _by_wrk(
    port: int, path: str, headers: Mapping[str, str], clients: int, seconds: float
) -> float:
    options = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    ran = subprocess.run(
        [
            *("wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "30s"),
            *options,
            f"http://127.0.0.1:{port}{path}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    if "Non-2xx" in ran.stdout or "Socket errors" in ran.stdout:
        raise RuntimeError(ran.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", ran.stdout)
    assert found, ran.stdout
    return float(found[1])


def _by_threads(
    port: int, path: str, headers: Mapping[str, str], clients: int, seconds: float
) -> float:
    """Run this file as a program: its threads share no interpreter with the caller."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    request = "\r\n".join(lines) + "\r\n\r\n"
    ran = subprocess.run(
        [sys.executable, __file__, str(port), str(clients), str(seconds)],
        input=request,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(ran.stdout)


def _request_until(port: int, request: bytes, deadline: float, counts: list[int]) -> None:
    """Send requests over one connection, and append the number of responses."""
    count = 0
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < deadline:
            client.sendall(request)
            response = client.recv(65536)
            while b"\r\n\r\n" not in response:
                response += client.recv(65536)
            head, _, body = response.partition(b"\r\n\r\n")
            if b" 200 " not in head[:16]:
                raise RuntimeError(response.decode())
            found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            assert found, head
            while len(body) < int(found[1]):
                body += client.recv(65536)
            count += 1
    counts.append(count)


def main() -> None:
    """Print the requests per second of the request on standard input."""
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    request = sys.stdin.buffer.read().replace(b"\n", b"\r\n").replace(b"\r\r\n", b"\r\n")
    counts: list[int] = []
    deadline = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_request_until, args=(port, request, deadline, counts))
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == clients, "a client failed"
    print(sum(counts) / seconds)


if __name__ == "__main__":
    main()
