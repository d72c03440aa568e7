"""Runs tests with hostile settings: in the environment, and in `.env` of a copy of the project.

``python -m tests.hostile_environment [ARGUMENTS OF PYTEST]`` runs all tests by default. It fails if
a test fails, if one connects to the database of ``.env``, or if one writes into its data folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.environment import setting_names
from tests.project_files import PROJECT, files

# Settings in a developer's `.env` that have each broken a test.
HOSTILE = {
    "ALLOWED_HOSTS": "nowhere.example",
    "API_LIMIT_ADDRESS_PER_MINUTE": "1",
    "API_LIMIT_PER_DAY": "2",
    "API_LIMIT_PER_MINUTE": "1",
    "DEBUG": "1",
    "HTTPS": "1",
    "IMAGE_STORAGE": "s3",
    "LOG_LEVEL": "CRITICAL",
    "S3_BUCKET": "the-developers-own",
    "SECRET_KEY": "of .env",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "URL_CHECK_CONCURRENCY": "1",
    "WEB_BIND": "127.0.0.1:1",
    "WEB_CONCURRENCY": "9",
}
# Variables of the shell that belong to no setting.
HOSTILE_SHELL = {
    "DJANGO_SETTINGS_MODULE": "nowhere.settings",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGPORT": "1",
    "http_proxy": "http://127.0.0.1:1",
}


def nonsense() -> dict[str, str]:
    """Return all settings as variables, with values that no process can start with.

    Without ``DATABASE_URL``, which tests take from the environment on purpose.
    """
    kept = {"DATABASE_URL", "DATABASE_PASSWORD", "POSTGRES_BIN"}
    names = setting_names() - kept
    values = dict.fromkeys(names, "nonsense")
    files = {f"{name}_FILE": "/nowhere/nonsense" for name in names | {"DATABASE_URL"}}
    return values | files | HOSTILE_SHELL


def copy_project(folder: Path) -> Path:
    """Copy the project's files: a suite that runs there has its own databases."""
    for path in files():
        target = folder / path.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def run_tests(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run tests in a copy of the project; return the result, and what they touched.

    ``folder`` must not exist.
    """
    copy = copy_project(folder)
    data = folder.parent / f"{folder.name}-data"
    with socket.create_server(("127.0.0.1", 0)) as developers_database:
        developers_database.setblocking(False)
        url = f"postgres://closient@127.0.0.1:{developers_database.getsockname()[1]}/closient"
        env_file = HOSTILE | {"DATABASE_URL": url, "DATA_FOLDER": str(data)}
        (copy / ".env").write_text("".join(f"{name}={value}\n" for name, value in env_file.items()))
        own = {
            name: value
            for name, value in os.environ.items()
            if name not in setting_names() and not name.startswith("PYTEST_")
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=copy,
            env=own | nonsense(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        touched = []
        try:
            developers_database.accept()
            touched.append("the database of .env")
        except BlockingIOError:
            pass
        if data.exists():
            touched.append("the data folder of .env")
    return done, touched


def main() -> int:
    """Run tests and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        done, touched = run_tests(Path(folder) / "copy", *(sys.argv[1:] or ["--numprocesses=auto"]))
    print(done.stdout)
    for name in touched:
        print(f"The tests used {name}.", file=sys.stderr)
    return 1 if touched else done.returncode


if __name__ == "__main__":
    sys.exit(main())
