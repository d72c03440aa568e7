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
    later = offers.order_by().filter(
        Q(url_check_at=None) | Q(url_check_at__gt=Now()), channel=Channel.ONLINE
    )
    return commit(lambda: later.update(url_check_at=Now()))


def overdue_count(organization: Organization | UUID, *, at_most: int | None = None) -> int:
    """Return how many of an organization's checks have been due for more than ten minutes.

    More than a few say that no worker runs, or that the shops' budgets do not suffice. Counting
    ends at ``at_most``, so that it takes no time however many there are.
    """
    due = Offer.objects.of(organization).filter(channel=Channel.ONLINE)
    overdue = due.filter(url_check_at__lt=Now() - OVERDUE_AFTER).order_by()
    return overdue[:at_most].count()
