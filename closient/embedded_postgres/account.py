"""The account that the server runs as, and the folders it needs.

PostgreSQL does not run as root. Root does not create a system user: it uses an existing account and
leaves parent folders unchanged (`privileges` explains how the server gets past them). Other
processes of that account can read the server's files; if that matters, make the owner of the folder
an account that runs nothing else.
"""

import os
import pwd
import stat
from pathlib import Path
from typing import Final, NamedTuple

ADVICE: Final = "run this as an ordinary user, or set DATABASE_URL to a PostgreSQL of your own"


class AccountError(Exception):
    """The server cannot run as the required account; the message is one sentence."""


class Account(NamedTuple):
    """A user id and its main group id."""

    uid: int
    gid: int


def account_for(folder: Path) -> Account:
    """Return the account that the server with data folder `folder` runs as; raises AccountError.

    That is the current user. For root it is the owner of the folder, or of its nearest existing
    parent, or `nobody` if root owns both.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for uid in _owners(folder):
        try:
            return Account(uid, pwd.getpwuid(uid).pw_gid)
        except KeyError:
            # initdb needs a name; the owner of a folder mounted into a container may have none.
            continue
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        message = f"PostgreSQL does not run as root and there is no account 'nobody' here: {ADVICE}"
        raise AccountError(message) from None
    return Account(entry.pw_uid, entry.pw_gid)


def name_of(uid: int) -> str:
    """Return the name of a user, or its number if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def private_folder(path: Path, account: Account) -> None:
    """Create the folder `path` for `account` alone, or check that it is one.

    Raises OSError, and AccountError for another account's folder or a link to a folder.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise AccountError(f"{path} is not a folder") from None
    # By descriptor: another process could replace the folder meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(descriptor).st_uid
        # Root's and empty: created just now, by us or by another process that does the same.
        if owner == 0 == os.geteuid() and not os.listdir(descriptor):
            _change_owner(descriptor, account)
        elif owner != account.uid:
            raise AccountError(
                f"{path} belongs to {name_of(owner)} and the server has to run as"
                f" {name_of(account.uid)}"
            )
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _owners(folder: Path) -> list[int]:
    """Return the owners of the folder, if it exists, and of its nearest parent, except root."""
    owners = [folder.stat().st_uid] if folder.exists() else []
    nearest_parent = next(parent for parent in folder.parents if parent.exists())
    return [uid for uid in (*owners, nearest_parent.stat().st_uid) if uid != 0]


def _change_owner(descriptor: int, account: Account) -> None:
    try:
        os.fchown(descriptor, *account)
    except OSError as error:
        message = (
            f"PostgreSQL does not run as root, and root may not give a folder to"
            f" {name_of(account.uid)} here ({error.strerror}): {ADVICE}"
        )
        raise AccountError(message) from error
