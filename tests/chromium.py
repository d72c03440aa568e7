"""Find a browser for the tests of pages, and install one where none is found.

``python -m tests.chromium`` is what ``make test`` runs first. It says what it did, in one sentence,
and ends with status 0 even where no browser is to be had: those tests are skipped then.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

# On the PATH of Linux; then where macOS keeps applications.
PROGRAMS = (
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
# Where Playwright's own download goes: into the virtual environment, not into the home folder.
FOLDER = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path(sys.prefix) / "browsers")
PLAYWRIGHT_PROGRAMS = (
    "chromium-*/chrome-linux*/chrome",
    "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
)
MISSING = "no Chromium, Chrome or Edge was found, and none could be installed"
# Seconds for one way of installing.
INSTALL_TIMEOUT = 600


def find() -> str | None:
    """Return the path of a browser that Playwright can drive, ``None`` where there is none."""
    own = (path for pattern in PLAYWRIGHT_PROGRAMS for path in FOLDER.glob(pattern))
    return next(filter(None, map(shutil.which, PROGRAMS)), None) or next(map(str, own), None)


def _distribution() -> str:
    """Return the id of the Linux distribution, as in ``debian``; empty on other systems."""
    try:
        return platform.freedesktop_os_release()["ID"]
    except OSError:
        return ""


def _ways_to_install() -> list[list[list[str]]]:
    """Return the ways to install a browser, best first; each is a list of commands."""
    playwright = [sys.executable, "-m", "playwright", "install", "chromium"]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return [[playwright]]
    if _distribution() != "debian":
        # Ubuntu's package only points to a snap, which does not run in a container; Playwright
        # knows the libraries that its own Chromium needs there.
        return [[[*playwright, "--with-deps"]], [playwright]]
    apt = ["apt-get", "install", "-qq", "-y", "--no-install-recommends"]
    return [[["apt-get", "update", "-qq"], [*apt, "chromium", "fonts-dejavu-core"]], [playwright]]


def install() -> str | None:
    """Try every way to install a browser, and return its path or ``None``."""
    for commands in _ways_to_install():
        for command in commands:
            print(f"No browser for the tests of pages: trying {' '.join(command[-4:])} ...")
            try:
                subprocess.run(
                    command,
                    check=True,
                    capture_output=True,
                    timeout=INSTALL_TIMEOUT,
                    env=os.environ
                    | {
                        "DEBIAN_FRONTEND": "noninteractive",
                        "PLAYWRIGHT_BROWSERS_PATH": str(FOLDER),
                    },
                )
            except (OSError, subprocess.SubprocessError) as error:
                output = getattr(error, "stderr", None) or b""
                reason = output.decode(errors="replace").strip().splitlines()[-1:]
                print(f"  That failed: {(reason or [str(error)])[0]}")
                break
        if found := find():
            return found
    return None


def main() -> None:
    """Say which browser the tests of pages will use."""
    if found := find() or install():
        print(f"The tests of pages use {found}.")
        return
    print(f"The tests of pages will be skipped: {MISSING}.")


if __name__ == "__main__":
    main()
