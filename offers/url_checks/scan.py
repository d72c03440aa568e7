"""When and where a worker looks for due offers: along the hosts, and seldom when there are none."""

from __future__ import annotations

import time

from offers.url_checks.schedule import claims
from offers.url_checks.schedule.claims import MAX_SCANNED_HOSTS, ClaimedUrl
from offers.url_checks.schedule.hosts import HostLimits

# Seconds between two looks along all hosts: while hosts with due offers are only busy, and while
# there is nothing to do. Looking in vain takes about a fifth or a twentieth of the time, unless
# there are so many hosts that the longest wait is too short for that.
BUSY_INTERVAL, BUSY_FACTOR = 0.05, 5
IDLE_INTERVAL, IDLE_FACTOR = 1.0, 20
MAX_IDLE_INTERVAL = 10.0


class ClaimScanner:
    """Claims due offers, going on at the host where the last look ended."""

    def __init__(self, limits: HostLimits) -> None:
        self._limits = limits
        self._after: str | None = None
        self._steps = 0
        # When the present look along all hosts began, or the last one.
        self.began_at = 0.0
        self._start()
        self.next_scan_at = 0.0
        # Whether the last look along all hosts found no due offer that could be waited for.
        self.found_nothing = False
        # At how many hosts that want to be left in peace there were due offers.
        self.paused = 0

    def _start(self) -> None:
        self.began_at = time.monotonic()
        self._in_vain = 0.0
        self._claimed = self._busy = self._paused = 0

    def scan(self, limit: int) -> list[ClaimedUrl]:
        """Claim at most so many claimed."""
        if self._after is None:
            self._start()
        self._steps = min(max(self._steps, 2 * limit), MAX_SCANNED_HOSTS)
        began_at = time.monotonic()
        found = claims.claim_due(limit, after=self._after, steps=self._steps, limits=self._limits)
        if not found.claimed:
            self._in_vain += time.monotonic() - began_at
        self._after = found.after
        # Where few hosts have something due, more of them are looked at in one go.
        few = len(found.claimed) < limit // 2
        self._steps = self._steps * 2 if few else self._steps // 2
        self._claimed += len(found.claimed)
        self._busy += found.busy
        self._paused += found.paused
        if self._after is None:
            self._finish()
        return found.claimed

    def _finish(self) -> None:
        is_busy = self._claimed > 0 or self._busy > 0
        self.found_nothing = not is_busy
        self.paused = self._paused
        if is_busy:
            wait = max(BUSY_INTERVAL, self._in_vain * BUSY_FACTOR)
        else:
            wait = max(IDLE_INTERVAL, self._in_vain * IDLE_FACTOR)
        self.next_scan_at = time.monotonic() + min(wait, MAX_IDLE_INTERVAL)
