"""Telling an outage of our own network from shops that are down: the one is no news about shops.

That a host is silent counts as long as others answer. Otherwise it is doubted: the check is put
off, and witnesses are called, which are hosts that have answered before. When one of them answers
it is the silent ones that are down; when none does it is rather us.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from datetime import timedelta

from offers.url_checks.fetch.responses import Answer, Failure
from offers.url_checks.verdict import SPACING

logger = logging.getLogger(__name__)

# What looks alike from both ends of a broken line.
SILENT = {Failure.DNS, Failure.CONNECTION, Failure.TIMEOUT}
# Times are in seconds.
# A verdict needs three checks, which take twice as long as this: the last of them is doubted when
# nobody has answered since before the first.
RECENT = SPACING.total_seconds()
# So many hosts in a row that are silent are doubted at once: not all of them can be down.
MANY = 20
# Fewer may be all the hosts there are: they are believed in the end, so much later for each.
BELIEVED_AFTER = 3600.0
# A check is put off for as long as the doubt lasts already, within these limits.
PUT_OFF_AT_LEAST, PUT_OFF_AT_MOST = 60.0, 15 * 60.0
# Between calls of witnesses.
CALL_AGAIN_AFTER = 5 * 60.0


class Network:
    """What the last answers say about our own connection. Knows what one worker has heard.

    ``clock`` gives seconds; another one is for tests alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # No news is good news at the beginning.
        self._heard_at = clock()
        # The hosts that were silent since then, MANY at most.
        self._silent: set[str] = set()
        self._doubted_since: float | None = None
        self._call_at = 0.0
        self._is_told = False

    def doubt(self, answer: Answer) -> timedelta | None:
        """Take note of an answer; return None if it counts, or for how long to put the check off.

        Let checks come back at different times, some a while later than that.
        """
        if answer.failure is Failure.NOT_ALLOWED:
            return None
        if answer.status is not None or answer.failure not in SILENT:
            self._hear()
            return None
        return self._miss(answer.host)

    def call(self) -> Collection[str]:
        """Return the silent hosts if witnesses are to be called now, that is others than these."""
        now = self._clock()
        if self._doubted_since is None or now < self._call_at:
            return ()
        self._call_at = now + CALL_AGAIN_AFTER
        return frozenset(self._silent)

    def _hear(self) -> None:
        if self._is_told:
            logger.warning("hosts answer again")
        self._is_told = False
        self._heard_at = self._clock()
        self._silent.clear()
        self._doubted_since = None
        self._call_at = 0.0

    def _miss(self, host: str) -> timedelta | None:
        now = self._clock()
        if len(self._silent) < MANY:
            self._silent.add(host)
        are_many = len(self._silent) >= MANY
        if self._doubted_since is None:
            if not are_many and now - self._heard_at <= RECENT:
                return None
            self._doubted_since = now
        lasting = now - self._doubted_since
        if not are_many and lasting > BELIEVED_AFTER * len(self._silent):
            return None
        if not self._is_told and (are_many or lasting >= PUT_OFF_AT_LEAST):
            # Not before the first witnesses had time to answer.
            self._is_told = True
            logger.warning("no host answers: checks are put off, look at this machine's network")
        return timedelta(seconds=min(max(lasting, PUT_OFF_AT_LEAST), PUT_OFF_AT_MOST))
