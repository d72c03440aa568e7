"""Makes checks due, and counts the overdue ones."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from closient.accounts.models import Organization
from closient.db.transactions import run_with_retry
from offers.models import Channel, Offer, OfferQuerySet, UrlStatus
from offers.url_checks.schedule import host_limits
from offers.url_checks.schedule.claims import LEASE

# Workers that keep up make a check well before this.
OVERDUE_AFTER = timedelta(minutes=10)

# How long a page waits for the first check of a new URL. Most take seconds. A paused shop takes
# longer, and so does a check without a running worker.
FIRST_CHECK_TIMEOUT = timedelta(minutes=2)

# How many probes are scheduled at a time, how many hosts are searched for them, and how many offers
# of a host: those checked last come first, and most of them have a response.
MAX_PROBES, MAX_PROBE_HOSTS, MAX_URLS_PER_HOST = 3, 200, 100

_SCHEDULE_PROBES = f"""
    WITH probe AS MATERIALIZED (
        SELECT responsive.id
        FROM unnest(%(hosts)s::text[]) AS known (host) CROSS JOIN LATERAL (
            SELECT last.id FROM (
                SELECT o.id, o.http_status FROM offers_offer o
                WHERE o.channel = '{Channel.ONLINE.value}' AND o.url_host = known.host
                  AND o.url_check_at > statement_timestamp() + %(lease)s
                ORDER BY o.url_check_at DESC LIMIT {MAX_URLS_PER_HOST}
            ) last
            WHERE last.http_status IS NOT NULL LIMIT 1
        ) responsive
        LIMIT {MAX_PROBES}
    ), free AS MATERIALIZED (
        SELECT o.id FROM offers_offer o JOIN probe ON o.id = probe.id
        WHERE o.url_check_at > statement_timestamp() + %(lease)s
        FOR NO KEY UPDATE OF o SKIP LOCKED
    )
    UPDATE offers_offer o SET url_check_at = statement_timestamp()
    FROM free
    WHERE o.id = free.id
"""


def make_due(offers: OfferQuerySet) -> int:
    """Make the online offers among these due now; return how many there are.

    The result of a check in progress is dropped, and the check is repeated. Must not be called
    inside a transaction. Raises :class:`closient.db.transactions.DatabaseBusy`.
    """
    online = offers.filter(channel=Channel.ONLINE)
    later = online.filter(Q(url_check_at=None) | Q(url_check_at__gt=Now()))

    def write() -> None:
        # In the order in which results are saved, which avoids deadlocks.
        in_order = later.order_by("pk").select_for_update(of=("self",)).values("pk")
        Offer.objects.filter(pk__in=in_order).update(url_check_at=Now())

    run_with_retry(write)
    # Offers that were due already keep their position.
    return online.count()


def is_first_check_due(offer: Offer) -> bool:
    """Return whether an offer's URL was never checked and its first check is scheduled."""
    is_new = offer.url_status == UrlStatus.UNCHECKED and offer.url_checked_at is None
    return is_new and offer.url_check_at is not None


def is_first_check_expected(offer: Offer) -> bool:
    """Return whether the first check is expected soon: it is not late, or in progress."""
    due_at = offer.url_check_at
    if due_at is None or not is_first_check_due(offer):
        return False
    return due_at > timezone.now() - FIRST_CHECK_TIMEOUT


def schedule_probes(unreachable: Collection[str]) -> int:
    """Make one URL due at each of a few hosts that have responded before, except unreachable ones.

    Chooses them at random and skips claimed offers. Returns how many there are.
    """
    hosts = host_limits.choose_to_probe(unreachable, most=MAX_PROBE_HOSTS)
    given: dict[str, Any] = {"hosts": hosts, "lease": LEASE}
    with connection.cursor() as cursor:
        cursor.execute(_SCHEDULE_PROBES, given)
        called: int = cursor.rowcount
        return called


def overdue_count(organization: Organization | UUID, *, at_most: int | None = None) -> int:
    """Return how many of an organization's checks are more than ten minutes overdue.

    More than a few mean that no worker runs, or that the rate limits of shops do not suffice.
    Counts up to ``at_most``, which bounds the time it takes.
    """
    due = Offer.objects.of(organization).filter(channel=Channel.ONLINE)
    overdue = due.filter(url_check_at__lt=Now() - OVERDUE_AFTER).order_by()
    return overdue[:at_most].count()
