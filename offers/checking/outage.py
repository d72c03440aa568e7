"""Telling an outage of our own network from shops that are down: the one is no news about shops."""

from __future__ import annotations

import logging
import time

from offers.checking.answers import Answer, Failure

logger = logging.getLogger(__name__)

# What looks alike from both ends of a broken line.
SILENT = {Failure.DNS, Failure.CONNECTION, Failure.TIMEOUT}
# So many hosts without a sign of life, and nobody else with one for so long, in seconds: not all of
# them can be down.
MANY = 20
WINDOW = 30 * 60.0


class Network:
    """What the last answers say about our own connection."""

    def __init__(self) -> None:
        self._silent: dict[str, float] = {}
        self._is_down = False

    def is_down(self, answer: Answer) -> bool:
        """Take note of an answer; return whether it is rather our network that it is about."""
        if answer.failure is Failure.NOT_ALLOWED:
            return False
        if answer.status is not None or answer.failure not in SILENT:
            self._silent.clear()
        else:
            self._note(answer.host)
        is_down = len(self._silent) >= MANY
        if is_down != self._is_down:
            self._is_down = is_down
            logger.warning(
                "no host answers any more: checks are put off, look at this machine's network"
                if is_down
                else "hosts answer again"
            )
        return is_down

    def _note(self, host: str) -> None:
        now = time.monotonic()
        # The one heard last is the last one: it is enough to look at the first.
        self._silent.pop(host, None)
        self._silent[host] = now
        while now - self._silent[first := next(iter(self._silent))] > WINDOW or (
            len(self._silent) > MANY
        ):
            del self._silent[first]
