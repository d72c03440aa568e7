"""Which account the server runs as, and giving it the folders it needs.

PostgreSQL refuses to run as root. Rather than to create a system user, root takes an account that
is there; parent folders stay as they are (see `privileges` for how the server gets past them). Its
files are open to other processes of that account: where that matters, let an account of its own own
the folder.
"""

import os
import pwd
import stat
from pathlib import Path
from typing import Final, NamedTuple

ADVICE: Final = "run this as an ordinary user, or set DATABASE_URL to a PostgreSQL of your own"


class AccountError(Exception):
    """The server cannot run as the account it would have to; the message is one sentence."""


class Account(NamedTuple):
    """A user id and its main group id."""

    uid: int
    gid: int


def account_for(folder: Path) -> Account:
    """Return the account that the server with data folder `folder` runs as; raises AccountError.

    That is the current user, unless it is root: then the owner of the folder, or of its nearest
    parent that exists, or `nobody` when that is root too.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for uid in _owners(folder):
        try:
            return Account(uid, pwd.getpwuid(uid).pw_gid)
        except KeyError:
            # initdb needs a name. A folder mounted into a container may have an owner without one.
            continue
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        message = f"PostgreSQL does not run as root and there is no account 'nobody' here: {ADVICE}"
        raise AccountError(message) from None
    return Account(entry.pw_uid, entry.pw_gid)


def name_of(uid: int) -> str:
    """Return the name of a user, or its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def private_folder(path: Path, account: Account) -> None:
    """Make the folder `path` for `account` alone, or see that it is; raises OSError, AccountError.

    A folder of somebody else, or a link to a folder, is refused.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise AccountError(f"{path} is not a folder") from None
    # By descriptor, so that nobody can put another folder in its place meanwhile.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(descriptor).st_uid
        # Root's own and empty: made just now, here or by another process that is as far as we are.
        if owner == 0 == os.geteuid() and not os.listdir(descriptor):
            _give(descriptor, account)
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
    """Return who owns the folder and its nearest parent, those that exist, without root."""
    owners = [folder.stat().st_uid] if folder.exists() else []
    nearest_parent = next(parent for parent in folder.parents if parent.exists())
    return [uid for uid in (*owners, nearest_parent.stat().st_uid) if uid != 0]


def _give(descriptor: int, account: Account) -> None:
    try:
        os.fchown(descriptor, *account)
    except OSError as error:
        message = (
            f"PostgreSQL does not run as root, and root may not give a folder to"
            f" {name_of(account.uid)} here ({error.strerror}): {ADVICE}"
        )
        raise AccountError(message) from error
