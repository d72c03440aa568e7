"""Which checks are due: asking for some at once, and how far the workers are behind."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from closient.accounts.models import Organization
from closient.api.transactions import commit
from offers.models import Channel, Offer, OfferQuerySet

# Workers that keep up take a check well before this.
OVERDUE_AFTER = timedelta(minutes=10)


def make_due(offers: OfferQuerySet) -> int:
    """Let workers check the online ones of some offers next; return how many were not due yet.

    A check that is under way meanwhile is dropped and made again. Must not be called inside a
    transaction. Raises :class:`closient.api.transactions.Busy`.
    """
    later = offers.filter(Q(url_check_at=None) | Q(url_check_at__gt=Now()), channel=Channel.ONLINE)

    def write() -> int:
        # In the order in which results are recorded: neither waits for the other.
        in_order = later.order_by("pk").select_for_update(of=("self",)).values("pk")
        return Offer.objects.filter(pk__in=in_order).update(url_check_at=Now())

    return commit(write)


def overdue_count(organization: Organization | UUID, *, at_most: int | None = None) -> int:
    """Return how many of an organization's checks have been due for more than ten minutes.

    More than a few say that no worker runs, or that the shops' budgets do not suffice. Counting
    ends at ``at_most``, so that it takes no time however many there are.
    """
    due = Offer.objects.of(organization).filter(channel=Channel.ONLINE)
    overdue = due.filter(url_check_at__lt=Now() - OVERDUE_AFTER).order_by()
    return overdue[:at_most].count()
