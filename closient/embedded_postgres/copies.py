"""A copy of PostgreSQL's programs for an account that cannot access the originals.

Root makes it for one server and removes it when the server stops. Only root can write to it.
"""

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from closient.embedded_postgres.account import Account, AccountError, name_of
from closient.embedded_postgres.privileges import closed_to

# An installation of PostgreSQL has one of these files beside its programs.
_MARKER_FILES: Final = ("share/postgres.bki", "share/postgresql/postgres.bki")
# The folders of an installation that the programs need.
_COPIED_FOLDERS: Final = ("lib", "lib64", "share")
# Every account can enter these folders, and none can rename the entries of another.
_TEMP_FOLDERS: Final = ("/tmp", "/var/tmp")  # noqa: S108


def copy_programs(programs: Path, root: Path, account: Account) -> Path:
    """Return the bin folder of a copy of the installation around `programs`; raises AccountError.

    `root` is the data folder of the server.
    """
    installation = programs.parent
    if not any((installation / folder).is_file() for folder in _MARKER_FILES):
        # The parent may be anything, such as a home, and every account can read the copy.
        raise AccountError(_advice(programs, account))
    package = installation.parent
    # Linux wheels contain the libraries beside the package, at a fixed relative path.
    libraries = package.parent / f"{package.name}.libs"
    for temp_folder in _TEMP_FOLDERS:
        copy = _folder(temp_folder, root)
        try:
            _create(copy)
            copied = copy / package.name / installation.name
            for folder in _COPIED_FOLDERS:
                if (installation / folder).is_dir():
                    shutil.copytree(installation / folder, copied / folder, symlinks=True)
            (copied / programs.name).mkdir()
            for name in ("postgres", "initdb"):
                shutil.copy2(programs / name, copied / programs.name / name)
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            _make_readable(copy)
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
        f"root has to run PostgreSQL as {name_of(account.uid)}, who cannot use {programs} or a"
        f" copy of it in {' or '.join(_TEMP_FOLDERS)}: install it in a folder that every account"
        " can enter, set POSTGRES_BIN to such a folder, or set DATABASE_URL to a PostgreSQL of your"
        " own"
    )


def remove_copies(root: Path) -> None:
    """Remove the copies that root made for the server with data folder `root`."""
    for temp_folder in _TEMP_FOLDERS:
        folder = _folder(temp_folder, root)
        if _belongs_to_root(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _folder(temp_folder: str, root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:20]
    return Path(temp_folder) / f"closient-postgres-programs-{name}"


def _belongs_to_root(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 == os.geteuid()


def _create(folder: Path) -> None:
    """Create an empty folder of root's; raises OSError if another account has one at the path."""
    if _belongs_to_root(folder):
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)


def _make_readable(folder: Path) -> None:
    """Let every account read and run the files in the folder, whatever the umask was."""
    for path, _, names in os.walk(folder):
        os.chmod(path, 0o755)  # noqa: S103
        for name in names:
            file = os.path.join(path, name)
            if not os.path.islink(file):
                os.chmod(file, 0o755 if os.stat(file).st_mode & 0o100 else 0o644)
