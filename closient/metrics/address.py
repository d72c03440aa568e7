"""The value of ``METRICS_BIND``."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"\[?(?P<host>[0-9A-Za-z.:_-]+?)\]?:(?P<port>[0-9]{1,5})\Z")


def parse(text: str) -> tuple[str, int]:
    """Return host and port; raises ``ValueError`` with a sentence for operators."""
    match = _ADDRESS.match(text)
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise ValueError(
            f"METRICS_BIND is {text!r}: it must be an address and a port, such as 127.0.0.1:9100."
        )
    return match["host"], int(match["port"])
