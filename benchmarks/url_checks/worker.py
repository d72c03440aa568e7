"""The worker on the database of the benchmark: checks what is due, on the local server.

Like ``check_urls --once``, but with a policy that resolves every name to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence

import django


async def lookup(_: str) -> Sequence[str]:
    """Resolve every name to the local server."""
    return ["127.0.0.1"]


def main(database: str) -> None:
    """Check until nothing is due."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "closient.settings")
    django.setup()

    from django.db import connection  # noqa: PLC0415 - Django has to be set up first

    from benchmarks.url_checks import CONCURRENCY  # noqa: PLC0415
    from offers.url_checks.fetch.policy import Policy  # noqa: PLC0415
    from offers.url_checks.worker import Worker  # noqa: PLC0415

    connection.settings_dict["NAME"] = database
    policy = Policy(allows=lambda address: address.is_loopback, ports=range(65536), lookup=lookup)
    worker = Worker(concurrency=CONCURRENCY, once=True, policy=policy)
    asyncio.run(worker.run(asyncio.Event()))


if __name__ == "__main__":
    database, workers = sys.argv[1], int(sys.argv[2])
    # Each in a separate process, as on several machines; this one is the first.
    others = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.url_checks.worker", database, "1"])
        for _ in range(workers - 1)
    ]
    main(database)
    for other in others:
        other.wait()
