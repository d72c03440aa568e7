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

from offers.url_checks.fetch.responses import Failure, FetchResult
from offers.url_checks.verdict import SPACING

logger = logging.getLogger(__name__)

# What looks alike from both ends of a broken line.
UNREACHABLE_FAILURES = {Failure.DNS, Failure.CONNECTION, Failure.TIMEOUT}
# Times are in seconds.
# A verdict needs three checks, which take twice as long as this: the last of them is doubted when
# nobody has answered since before the first.
RECENT_SECONDS = SPACING.total_seconds()
# So many hosts in a row that are silent are doubted at once: not all of them can be down.
MAX_UNREACHABLE = 20
# Fewer may be all the hosts there are: they are believed in the end, so much later for each.
BELIEVED_AFTER_SECONDS = 3600.0
# A check is put off for as long as the doubt lasts already, within these limits.
MIN_DELAY_SECONDS, MAX_DELAY_SECONDS = 60.0, 15 * 60.0
# Between calls of witnesses.
PROBE_INTERVAL_SECONDS = 5 * 60.0


class OutageDetector:
    """What the last answers say about our own connection. Knows what one worker has heard.

    ``clock`` gives seconds; another one is for tests alone.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # No news is good news at the beginning.
        self._last_response_at = clock()
        # The hosts that were silent since then, MAX_UNREACHABLE at most.
        self._unreachable: set[str] = set()
        self._suspected_since: float | None = None
        self._next_probes_at = 0.0
        self._is_logged = False

    def suspect_outage(self, answer: FetchResult) -> timedelta | None:
        """Take note of an answer; return None if it counts, or for how long to put the check off.

        Let checks come back at different times, some a while later than that.
        """
        if answer.failure is Failure.NOT_ALLOWED:
            return None
        if answer.status is not None or answer.failure not in UNREACHABLE_FAILURES:
            self._note_response()
            return None
        return self._note_unreachable(answer.host)

    def unreachable_to_probe(self) -> Collection[str]:
        """Return the silent hosts if witnesses are to be called now, that is others than these."""
        now = self._clock()
        if self._suspected_since is None or now < self._next_probes_at:
            return ()
        self._next_probes_at = now + PROBE_INTERVAL_SECONDS
        return frozenset(self._unreachable)

    def _note_response(self) -> None:
        if self._is_logged:
            logger.warning("hosts answer again")
        self._is_logged = False
        self._last_response_at = self._clock()
        self._unreachable.clear()
        self._suspected_since = None
        self._next_probes_at = 0.0

    def _note_unreachable(self, host: str) -> timedelta | None:
        now = self._clock()
        if len(self._unreachable) < MAX_UNREACHABLE:
            self._unreachable.add(host)
        are_many = len(self._unreachable) >= MAX_UNREACHABLE
        if self._suspected_since is None:
            if not are_many and now - self._last_response_at <= RECENT_SECONDS:
                return None
            self._suspected_since = now
        lasting = now - self._suspected_since
        if not are_many and lasting > BELIEVED_AFTER_SECONDS * len(self._unreachable):
            return None
        if not self._is_logged and (are_many or lasting >= MIN_DELAY_SECONDS):
            # Not before the first witnesses had time to answer.
            self._is_logged = True
            logger.warning("no host answers: checks are put off, look at this machine's network")
        return timedelta(seconds=min(max(lasting, MIN_DELAY_SECONDS), MAX_DELAY_SECONDS))
