"""Other programs that the benchmarks compare with: installed for the benchmarks only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

# By name: exactly what pip installs, so that figures can be repeated.
PEERS = {
    "import_export": (
        "--no-deps",
        "django-import-export==4.4.3",
        "tablib==3.10.0",
        "diff-match-patch==20241021",
    ),
    "linkchecker": ("linkchecker==10.6.0",),
}


def folder_of(name: str) -> Path | None:
    """Return the folder with a peer's packages, installed from PyPI if it is not there yet.

    ``None``, with a message, if it cannot be installed.
    """
    folder = Path(settings.DATA_FOLDER) / "peers" / name
    done = folder / "installed"
    if not done.exists():
        print(f"Installing {name} in {folder} ...")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run = subprocess.run([*pip, "--target", str(folder), *PEERS[name]], check=False)
        if run.returncode:
            print(f"{name} could not be installed: it is left out.")
            return None
        done.touch()
    return folder


def environment_with(folder: Path) -> dict[str, str]:
    """Return the environment of a Python process that can import a peer and this project."""
    paths = [str(settings.BASE_DIR), str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
