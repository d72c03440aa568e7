"""Check whether the service in this container is ready: ``python -m closient.readiness``.

The exit status is 0 if ``/readyz`` returns 200. Loads no Django settings, to be fast.
"""

from __future__ import annotations

import http.client
import os
import sys

from closient.env import read_settings


def main() -> int:
    """Print the response and return the exit status."""
    env = read_settings({**os.environ})
    host = env.str("ALLOWED_HOSTS", default="").split(",")[0].lstrip(".*") or "localhost"
    port = int(env.str("WEB_BIND", default=":8000").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/readyz", headers={"Host": host})
        response = connection.getresponse()
        print(response.status, response.read().decode(errors="replace").strip())
    except (OSError, http.client.HTTPException) as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    return 0 if response.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
