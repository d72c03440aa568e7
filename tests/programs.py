"""Finds the programs that some tests need besides Python, and installs missing ones.

``make test`` first runs ``python -m tests.programs``. It prints what it did and exits with 0 even
if a program cannot be installed: the tests that need it are skipped, and the last lines of the run
say which and how many. ``.ci/run`` fails on such a line.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# On the PATH of Linux; then where macOS keeps applications.
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "microsoft-edge-stable",
    *(
        f"/Applications/{name}.app/Contents/MacOS/{name}"
        for name in ("Google Chrome", "Chromium", "Microsoft Edge")
    ),
)
# The folder for Playwright's own download: in the virtual environment, not in the home folder.
PLAYWRIGHT_FOLDER = Path(
    os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path(sys.prefix) / "browsers"
)
PLAYWRIGHT_BROWSERS = (
    "chromium-*/chrome-linux*/chrome",
    "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
)
# Program, and its packages in Debian.
PACKAGES = {
    "browser": ("chromium", "fonts-dejavu-core"),
    "curl": ("curl",),
    "initdb": ("postgresql",),
    "docker-compose": ("docker-compose",),
    "nginx": ("nginx-light",),
    "pgbouncer": ("pgbouncer",),
    # It contains the server, too, which is not started.
    "promtool": ("prometheus",),
}
# The folders of administrator programs on Debian, which are not on a user's PATH.
ADMIN_FOLDERS = ("/usr/sbin", "/sbin")
# Seconds for one command of the installation.
INSTALL_TIMEOUT = 600


def find(name: str) -> str | None:
    """Return the path of a program of ``PACKAGES``, or ``None`` if it is not installed."""
    if name == "initdb":
        # Debian has the programs of each version in a folder that is not on the PATH.
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        return str(versions[-1]) if versions else shutil.which(name)
    if name != "browser":
        path = os.pathsep.join((os.environ.get("PATH", ""), *ADMIN_FOLDERS))
        return shutil.which(name, path=path)
    own = (path for pattern in PLAYWRIGHT_BROWSERS for path in PLAYWRIGHT_FOLDER.glob(pattern))
    return next(filter(None, map(shutil.which, BROWSERS)), None) or next(map(str, own), None)


def need(name: str) -> str:
    """Return the path of a program, or skip the test."""
    path = find(name)
    if path is None:
        pytest.skip(reason(name))
    return path


def reason(name: str) -> str:
    """Return why tests that need a program are skipped."""
    program = "Chromium, Chrome or Edge" if name == "browser" else name
    return f"{program} was not found, and could not be installed"


def summary(reasons: Iterable[str]) -> list[str]:
    """Return a line for each missing program, from the reasons of all skipped tests."""
    found = list(reasons)
    counts = {name: sum(reason(name) in text for text in found) for name in PACKAGES}
    return [
        f"{count} TESTS WERE SKIPPED: {reason(name)}. Install it and run the tests again."
        for name, count in counts.items()
        if count
    ]


def install(missing: list[str]) -> None:
    """Install programs if this machine can, and print what is done."""
    playwright = [sys.executable, "-m", "playwright", "install", "chromium"]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        # Ubuntu's chromium only points to a snap, which does not run in a container; Playwright
        # knows which libraries its own Chromium needs there.
        has_chromium = _distribution() == "debian"
        packages = [
            package
            for name in missing
            if has_chromium or name != "browser"
            for package in PACKAGES[name]
        ]
        options = ["-qq", "-y", "--no-install-recommends"]
        if "initdb" in missing:
            _no_default_cluster()
        with _no_services():
            _run("apt-get", "update", "-qq") and _run("apt-get", "install", *options, *packages)
        if not has_chromium:
            playwright.append("--with-deps")
    if "browser" in missing and find("browser") is None:
        _run(*playwright)


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep Debian's packages from starting their services: nginx, PgBouncer, Prometheus."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _no_default_cluster() -> None:
    """Keep Debian's package of PostgreSQL from creating and starting a server."""
    configuration = Path("/etc/postgresql-common/createcluster.conf")
    if not configuration.exists():
        configuration.parent.mkdir(exist_ok=True)
        configuration.write_text("create_main_cluster = false\n")


def _distribution() -> str:
    """Return the id of the Linux distribution, for example ``debian``; empty on other systems."""
    try:
        return platform.freedesktop_os_release()["ID"]
    except OSError:
        return ""


def _run(*command: str) -> bool:
    """Run a command that installs, and return whether it succeeded."""
    print(f"  {' '.join(command).replace(sys.executable, 'python')}")
    variables = {
        "DEBIAN_FRONTEND": "noninteractive",
        "PLAYWRIGHT_BROWSERS_PATH": str(PLAYWRIGHT_FOLDER),
    }
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=INSTALL_TIMEOUT,
            env=os.environ | variables,
        )
    except (OSError, subprocess.SubprocessError) as error:
        output = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        print(f"  That failed: {(output.splitlines() or [str(error)])[-1]}")
        return False
    return True


def main() -> None:
    """Install missing programs, and print what will be skipped without them."""
    missing = [name for name in PACKAGES if find(name) is None]
    if not missing:
        return
    print(f"Some tests need programs that are missing here ({', '.join(missing)}); installing:")
    install(missing)
    for name in filter(lambda name: find(name) is None, missing):
        print(f"Tests that need it will be skipped: {reason(name)}.")


if __name__ == "__main__":
    main()
