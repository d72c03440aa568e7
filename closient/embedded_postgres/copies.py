"""A copy of PostgreSQL's programs for an account that cannot reach them where they are.

Root makes it for one server, for as long as that runs; only root can write to it.
"""

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from closient.embedded_postgres.account import Account, AccountError, name_of
from closient.embedded_postgres.privileges import closed_to

# By one of these files an installation of PostgreSQL is recognized, beside its programs.
_SIGNS: Final = ("share/postgres.bki", "share/postgresql/postgres.bki")
# What the programs need of it.
_COPIED: Final = ("lib", "lib64", "share")
# Folders that every account can enter and none can rename another's entries in.
_PLACES: Final = ("/tmp", "/var/tmp")  # noqa: S108


def copy_programs(programs: Path, root: Path, account: Account) -> Path:
    """Return the bin folder of a copy of the installation around `programs`; raises AccountError.

    `root` is the data folder of the server that it is for.
    """
    installation = programs.parent
    if not any((installation / folder).is_file() for folder in _SIGNS):
        # The folder around may be anything, a home for one, and a copy is open to everyone.
        raise AccountError(_advice(programs, account))
    package = installation.parent
    # Wheels for Linux have the libraries beside the package, at a fixed relative path.
    libraries = package.parent / f"{package.name}.libs"
    for place in _PLACES:
        copy = _folder(place, root)
        try:
            _make(copy)
            copied = copy / package.name / installation.name
            for folder in _COPIED:
                if (installation / folder).is_dir():
                    shutil.copytree(installation / folder, copied / folder, symlinks=True)
            (copied / programs.name).mkdir()
            for name in ("postgres", "initdb"):
                shutil.copy2(programs / name, copied / programs.name / name)
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            _open_for_reading(copy)
        except OSError:
            remove_copies(root)
            continue
        copied_programs = copied / programs.name
        if not closed_to(account, (copied_programs / "postgres", copied_programs / "initdb")):
            return copied_programs
        remove_copies(root)
    raise AccountError(_advice(programs, account))


def _advice(programs: Path, account: Account) -> str:
    return (
        f"root has to run PostgreSQL as {name_of(account.uid)}, who cannot use {programs}, and no"
        f" copy of it in {' or '.join(_PLACES)} either: install it in a folder that every account"
        " can enter, set POSTGRES_BIN to such a folder, or set DATABASE_URL to a PostgreSQL of your"
        " own"
    )


def remove_copies(root: Path) -> None:
    """Remove the copies that root made for the server with data folder `root`."""
    for place in _PLACES:
        folder = _folder(place, root)
        if _is_roots(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _folder(place: str, root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:20]
    return Path(place) / f"closient-postgres-programs-{name}"


def _is_roots(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 == os.geteuid()


def _make(folder: Path) -> None:
    """Make an empty folder of root's; raises OSError when another account's thing is there."""
    if _is_roots(folder):
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)


def _open_for_reading(folder: Path) -> None:
    """Let every account read and run what is below the folder, whatever the umask was."""
    for path, _, names in os.walk(folder):
        os.chmod(path, 0o755)  # noqa: S103
        for name in names:
            file = os.path.join(path, name)
            if not os.path.islink(file):
                os.chmod(file, 0o755 if os.stat(file).st_mode & 0o100 else 0o644)
