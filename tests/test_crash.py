"""``kill -9`` of the database and of the client during writes and imports.

``KILLS`` raises the number of kills (4 of each without it).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from closient.embedded_postgres.server import Server

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "3"))
ROOT = Path(__file__).resolve().parents[1]


class Moment:
    """One client, from its start to the kill."""

    def __init__(self, seed: int, folder: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"} | {
            "DATA_FOLDER": str(folder),
            "ALLOW_EMBEDDED_POSTGRES": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash_client", str(seed), str(folder)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read(self) -> str:
        """Return the next line of the client; fails with its error output if it has ended."""
        line = self.process.stdout.readline().strip()
        assert line, self.process.stderr.read()
        return line

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def postmaster(folder: Path) -> int:
    (pid_file,) = (folder / "postgres").rglob("postmaster.pid")
    return int(pid_file.read_text().split()[0])


@pytest.mark.parametrize("victim", ["client", "database"])
@pytest.mark.campaign
def test_counts_are_exact_after_random_kills(tmp_path: Path, victim: str):
    server = Server(tmp_path / "postgres")
    rng = random.Random()
    try:
        for seed in range(1, KILLS + 1):
            server.ensure_running()
            moment = Moment(seed, tmp_path)
            try:
                # After the previous kill counts are exact, and each import is complete or absent.
                assert moment.read() == "audit clean imported 0"
                assert moment.read() == "writing"
                for _ in range(rng.randrange(1, 40)):
                    moment.read()
                if victim == "database":
                    os.kill(postmaster(tmp_path), signal.SIGKILL)
                    moment.process.wait(timeout=60)
            finally:
                moment.end()
        server.ensure_running()
        with psycopg.connect(**server.connection_parameters()) as connection:
            (products,) = connection.execute("SELECT count(*) FROM catalog_product").fetchone()
        # At least one import was completed.
        assert products >= 400
    finally:
        server.stop()
