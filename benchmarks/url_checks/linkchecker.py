"""LinkChecker on the local server; run by the Python of the environment it is installed in.

Every name resolves to the local server; no robots.txt, no second level. Arguments: a page with all
URLs, and optionally the number of threads.
"""

from __future__ import annotations

import socket
import sys
from importlib import import_module
from typing import Any


def main(page: str, *threads: str) -> None:
    """Check all URLs of the page."""
    real: Any = socket.getaddrinfo

    def here(host: Any, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".test") else host, *rest, **more)

    vars(socket)["getaddrinfo"] = here
    linkchecker = import_module("linkcheck.command.linkchecker")

    options = ["--check-extern", "--no-robots", "--recursion-level=1", "--no-status"]
    options += [f"--threads={number}" for number in threads]
    sys.argv = ["linkchecker", *options, "--output=none", page]
    linkchecker.linkchecker()


if __name__ == "__main__":
    main(*sys.argv[1:])
