"""Distinguishes an outage of our own network from shops that are down.

An unreachable host counts as long as other hosts respond. Otherwise an outage is suspected: the
check is postponed and probes are scheduled, which are checks at hosts that have responded before.
If a probe gets a response, the unreachable hosts are down. If none does, our network probably is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from datetime import timedelta

from offers.url_checks.fetch.responses import Failure, FetchResult
from offers.url_checks.verdict import SPACING

logger = logging.getLogger(__name__)

# Failures that look the same when the host is down and when our network is.
UNREACHABLE_FAILURES = {Failure.DNS, Failure.CONNECTION, Failure.TIMEOUT}
# A verdict needs three checks, which take at least twice this long. So the last of them is suspect
# when no host has responded since before the first.
RECENT_SECONDS = SPACING.total_seconds()
# This many unreachable hosts in a row are suspect at once: they are not all down.
MAX_UNREACHABLE = 20
# Fewer may be all the hosts there are: in the end they count as down, later for each further host.
BELIEVED_AFTER_SECONDS = 3600.0
# A check is postponed for as long as the suspicion has lasted, within these limits.
MIN_DELAY_SECONDS, MAX_DELAY_SECONDS = 60.0, 15 * 60.0
# Between two rounds of probes.
PROBE_INTERVAL_SECONDS = 5 * 60.0


class OutageDetector:
    """Decides from the results of one worker whether our own network may be down.

    ``clock`` returns seconds; tests replace it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # At the start the network is assumed to work.
        self._last_response_at = clock()
        # The hosts that were unreachable since then, MAX_UNREACHABLE at most.
        self._unreachable: set[str] = set()
        self._suspected_since: float | None = None
        self._next_probes_at = 0.0
        self._is_logged = False

    def suspect_outage(self, result: FetchResult) -> timedelta | None:
        """Note a result; return None if it counts, or for how long to postpone the check.

        Postpone each check by a different time, some by more than this.
        """
        if result.failure is Failure.NOT_ALLOWED:
            return None
        if result.status is not None or result.failure not in UNREACHABLE_FAILURES:
            self._note_response()
            return None
        return self._note_unreachable(result.host)

    def unreachable_to_probe(self) -> Collection[str]:
        """Return the unreachable hosts if probes of other hosts are needed now, else nothing."""
        now = self._clock()
        if self._suspected_since is None or now < self._next_probes_at:
            return ()
        self._next_probes_at = now + PROBE_INTERVAL_SECONDS
        return frozenset(self._unreachable)

    def _note_response(self) -> None:
        if self._is_logged:
            logger.warning("hosts respond again")
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
        duration = now - self._suspected_since
        if not are_many and duration > BELIEVED_AFTER_SECONDS * len(self._unreachable):
            return None
        if not self._is_logged and (are_many or duration >= MIN_DELAY_SECONDS):
            # Not before the first probes had time to get a response.
            self._is_logged = True
            logger.warning("no host responds: checks are postponed; check this machine's network")
        return timedelta(seconds=min(max(duration, MIN_DELAY_SECONDS), MAX_DELAY_SECONDS))
