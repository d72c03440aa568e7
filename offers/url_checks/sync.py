"""A worker's trips to the database: what has been found out goes in, new work comes out.

Trips are made in one thread beside the loop that talks to shops, each for everything that has come
up since the last one. A database that is away for a while is waited for, and nothing is lost.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, connection

from closient.db.transactions import Busy
from closient.periodic.schedule import one_line
from offers.url_checks.scan import Lookout
from offers.url_checks.schedule import hosts, results
from offers.url_checks.schedule.claims import Claim, Visit
from offers.url_checks.schedule.due import call_witnesses
from offers.url_checks.schedule.hosts import Pace, Place
from offers.url_checks.schedule.results import Checked

logger = logging.getLogger(__name__)

# In seconds: of what has to arrive, and of a look for due offers.
FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0
LOOK_AGAIN = 1.0
# The database is away, or others are in the way: the same may work in a moment.
AWAY = (OperationalError, InterfaceError, Busy)
# What fails through a fault of ours would fail again at once.
AFTER_FAULT = timedelta(hours=1)


class StillAway(Exception):
    """The database has been away for as long as there was time to wait for it."""


def log_fault(what: str, error: Exception) -> None:
    """Log where an unforeseen error came up; not its words, which may quote an address."""
    kind = type(error.__cause__ or error).__name__
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s, and is put off for an hour: %s\n%s", what, kind, where)


@dataclasses.dataclass
class Luggage:
    """What is brought to the database; taken out as soon as it has arrived there."""

    checked: list[Checked] = dataclasses.field(default_factory=list)
    unchecked: list[tuple[Claim, datetime]] = dataclasses.field(default_factory=list)
    left: list[Place] = dataclasses.field(default_factory=list)
    objections: dict[str, timedelta | None] = dataclasses.field(default_factory=dict)
    forgiven: set[str] = dataclasses.field(default_factory=set)
    # Hosts that are silent, of which witnesses are to tell whether it is they or we.
    silent: set[str] = dataclasses.field(default_factory=set)
    # Hosts at which somebody stands in line for a turn.
    asked: set[str] = dataclasses.field(default_factory=set)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in dataclasses.fields(self))


@dataclasses.dataclass
class Brought:
    """What is brought back."""

    visits: list[Visit] = dataclasses.field(default_factory=list)
    places: list[Place] = dataclasses.field(default_factory=list)
    # Seconds until the other hosts that were asked may have a place.
    waits: dict[str, float] = dataclasses.field(default_factory=dict)
    # Offers whose verdict was written; the others had been changed meanwhile.
    recorded: int = 0


class Traveller:
    """Makes the trips of one worker, all of them in one and the same thread."""

    def __init__(self, lookout: Lookout, pace: Pace) -> None:
        self._lookout = lookout
        self._pace = pace
        self._is_away = False
        # Set when there is no time left to wait for a database that is away.
        self.hurry = threading.Event()

    def travel(self, luggage: Luggage, *, wanted: int) -> Brought:
        """Deliver the luggage, and claim as many visits as wanted at most.

        Waits for a database that is away, and raises :class:`StillAway` once it has to hurry.
        """
        brought = Brought()
        is_trip = bool(luggage) or wanted > 0
        self._insist(lambda: self._record(luggage, brought))
        self._insist(lambda: self._give_back(luggage))
        self._insist(lambda: self._tell_hosts(luggage))
        self._insist(lambda: self._call_witnesses(luggage))
        try:
            if luggage.asked:
                brought.places, brought.waits = hosts.ask(luggage.asked, pace=self._pace)
            if wanted > 0:
                brought.visits = self._lookout.look(wanted)
        except AWAY as error:
            # Whoever asked asks again; claims that were lost on the way back lapse.
            self._lose_connection(error)
            self._lookout.next_look_at = time.monotonic() + LOOK_AGAIN
        else:
            if is_trip:
                self._note(is_away=False)
        return brought

    def close(self) -> None:
        """Give the connection back at the end."""
        connection.close()

    def _record(self, luggage: Luggage, brought: Brought) -> None:
        try:
            brought.recorded += results.record(luggage.checked)
        except AWAY:
            raise
        except Exception:
            # One that cannot be judged or written does not keep the others.
            for checked in luggage.checked:
                try:
                    brought.recorded += results.record([checked])
                except AWAY:
                    raise
                except Exception as error:
                    claim = checked.claim
                    log_fault(f"no verdict on offer {claim.offer_id} can be recorded", error)
                    luggage.unchecked.append((claim, claim.token + AFTER_FAULT))
        luggage.checked = []

    def _give_back(self, luggage: Luggage) -> None:
        by_time: dict[datetime, list[Claim]] = {}
        for claim, at in luggage.unchecked:
            by_time.setdefault(at, []).append(claim)
        for at, claims in by_time.items():
            results.give_back(claims, at)
        luggage.unchecked = []

    def _tell_hosts(self, luggage: Luggage) -> None:
        # Before the places are free: nobody shall slip in between.
        hosts.pause(luggage.objections, pace=self._pace)
        luggage.objections = {}
        hosts.forgive(luggage.forgiven)
        luggage.forgiven = set()
        hosts.leave(luggage.left)
        luggage.left = []

    def _call_witnesses(self, luggage: Luggage) -> None:
        if luggage.silent:
            call_witnesses(luggage.silent)
            luggage.silent = set()

    def _insist(self, step: Callable[[], None]) -> None:
        wait = FIRST_RETRY
        while True:
            try:
                return step()
            except AWAY as error:
                self._lose_connection(error)
                if self.hurry.wait(wait):
                    raise StillAway from error
                wait = min(wait * 2, LONGEST_RETRY)

    def _lose_connection(self, error: Exception) -> None:
        self._note(is_away=True, why=one_line(error))
        connection.close()

    def _note(self, *, is_away: bool, why: str = "") -> None:
        if is_away and not self._is_away:
            logger.warning("the database does not answer, trying again: %s", why)
        elif self._is_away and not is_away:
            logger.warning("the database answers again")
        self._is_away = is_away
