"""Lists the project's own files, for tests that read them."""

from __future__ import annotations

import fnmatch
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def files(*patterns: str) -> list[Path]:
    """Return the project's own files, all or those whose path matches one of the git patterns.

    These are what git tracks or would track; without git (a downloaded archive, a machine that has
    none), what ``.gitignore`` does not name.
    """
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
            cwd=PROJECT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        names = _without_git(patterns)
    else:
        names = iter(filter(None, listed.split("\0")))
    return [path for name in names if (path := PROJECT / name).is_file()]


def _without_git(patterns: tuple[str, ...]) -> Iterator[str]:
    ignored = (".git", *(PROJECT / ".gitignore").read_text().replace("/\n", "\n").split())
    for folder, folders, names in os.walk(PROJECT):
        folders[:] = [name for name in folders if not _matches(name, ignored)]
        for name in names:
            path = (Path(folder) / name).relative_to(PROJECT).as_posix()
            if not _matches(name, ignored) and (not patterns or _matches(path, patterns)):
                yield path


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
