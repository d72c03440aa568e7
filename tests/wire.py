"""Raw HTTP over sockets: sends exactly the bytes of a test."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any, NamedTuple

TIMEOUT_SECONDS = 30.0


class Reply(NamedTuple):
    """A response, with header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def connect(port: int, *, receive_buffer: int | None = None) -> socket.socket:
    """Return a connection to a port of this machine."""
    peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    peer.settimeout(TIMEOUT_SECONDS)
    try:
        peer.connect(("127.0.0.1", port))
    except OSError:
        peer.close()
        raise
    return peer


def read_all(peer: socket.socket) -> bytes:
    """Return all bytes until the other side closes or resets the connection."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := peer.recv(65_536):
            received += piece
    return bytes(received)


def parse(received: bytes) -> Reply:
    """Parse the first response in some bytes."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Reply(int(first.split()[1]), headers, body)


def exchange(port: int, sent: bytes) -> Reply:
    """Send bytes and return the response of a server that then closes the connection."""
    with connect(port) as peer:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sendall(sent)
        return parse(read_all(peer))
