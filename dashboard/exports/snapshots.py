"""The snapshot that an export reads, and the limits of exports."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from django.conf import settings

from closient.accounts import ratelimit
from closient.accounts.models import ApiKey, ApiKeyKind, User
from closient.cells.routing import in_directory
from closient.db.limits import long_statements
from closient.db.locks import lock_until_commit, try_lock_until_commit
from closient.db.replicas import replica_read
from closient.db.routing import using_database
from closient.http.problems import Problem

logger = logging.getLogger("dashboard.exports")

# Concurrent exports of one user or key, and the Retry-After of further ones.
MAX_CONCURRENT = 2
RETRY_AFTER_SECONDS = 10
ROWS_PER_CHECK = 1_000

Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Exporter:
    """The user or key that exports, by its id; all its exports share its limits.

    ``is_in_directory`` says where its exports are counted: in the database of users, or with
    the key in the cell of its organization.
    """

    id: UUID
    is_in_directory: bool = True

    @classmethod
    def of(cls, *, user: User | None, key: ApiKey | None) -> Exporter:
        """Return the exporter of a request."""
        if key is not None:
            return cls(key.pk, key.kind == ApiKeyKind.USER)
        if user is None:
            raise ValueError("An export needs a user or a key.")
        return cls(user.pk)

    def count(self) -> None:
        """Count an export. Raises ``rate_limited`` above the exports per minute or day."""
        with in_directory() if self.is_in_directory else contextlib.nullcontext():
            ratelimit.enforce_limit(ratelimit.count_export(self.id), "Too many exports.")

    def check_slot(self) -> None:
        """Raise ``rate_limited`` if all slots are in use on the server that will be read."""
        with replica_read():
            self.acquire_slot()

    def acquire_slot(self) -> None:
        """Hold one of the slots until the transaction ends. Raises ``rate_limited``."""
        if not self._try_slots():
            detail = (
                f"You have {MAX_CONCURRENT} exports running: wait until one has finished. "
                f"Try again in {RETRY_AFTER_SECONDS} seconds."
            )
            raise Problem("rate_limited", detail, retry_after=RETRY_AFTER_SECONDS)

    def wait_for_slot(self) -> None:
        """Hold one of the slots until the transaction ends, waiting for one if necessary."""
        if not self._try_slots():
            lock_until_commit(self._slots[0])

    @property
    def _slots(self) -> list[str]:
        """The names of the advisory locks."""
        return [f"export {number} of {self.id}" for number in range(MAX_CONCURRENT)]

    def _try_slots(self) -> bool:
        return any(try_lock_until_commit(name) for name in self._slots)


@contextmanager
def snapshot() -> Iterator[None]:
    """Read one committed state in a block, with the time limits of exports."""
    with replica_read(), long_statements():
        yield


def streamed(
    exporter: Exporter, pieces: Callable[[], Iterable[bytes]], *, alias: str
) -> Iterator[bytes]:
    """Yield pieces that are read from one snapshot, holding one of the exporter's slots.

    It runs after the view has returned, so it uses ``alias``, the database of the view. Raises
    ``TimeoutError`` after ``EXPORT_TIMEOUT`` seconds.
    """
    deadline = Deadline()
    with using_database(alias), snapshot():
        # Another export may have acquired the last slot after this response had started.
        exporter.wait_for_slot()
        for piece in pieces():
            yield piece
            deadline.check()


class Deadline:
    """The time at which an export that starts now must have ended."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + settings.EXPORT_TIMEOUT

    def check(self) -> None:
        """Raise ``TimeoutError`` after the deadline."""
        if time.monotonic() > self._ends_at:
            logger.warning("An export took more than %d s.", settings.EXPORT_TIMEOUT)
            raise TimeoutError

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows; raises ``TimeoutError`` after the deadline."""
        for number, row in enumerate(rows):
            if number % ROWS_PER_CHECK == 0:
                self.check()
            yield row
