"""Writing offers: what belongs together changes together."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from django.db.models.functions import Now

from catalog.models import Product
from closient.accounts.actors import current_actor
from closient.http.conflicts import writing
from offers.currencies import check_price
from offers.models import FAILING, Channel, Offer, OfferQuerySet, OfferStatus, UrlStatus
from offers.models.address import UNCHECKED_STATE

# A person's word on an address is not doubted for so long.
MANUAL_STATUS_FOR = datetime.timedelta(days=1)
MANUAL_STATUS_DETAIL = "A person has set this status."


class UrlMissing(ValueError):
    """An online offer would be without a URL."""


def create_offer(product: Product, values: Mapping[str, Any]) -> Offer:
    """Return a new, saved offer of a product; an online one is not checked yet.

    ``values`` are fields by name. Raises :class:`UrlMissing`, ``InvalidPrice``, and what the
    database refuses as ``IntegrityError``.
    """
    offer = Offer(organization_id=product.organization_id, product=product, **values)
    _reset_check(offer)
    check_price(offer.price, offer.currency)
    with writing(offer):
        offer.save(force_insert=True)
    return offer


def change_offer(offer: Offer, values: Mapping[str, Any]) -> bool:
    """Give an offer, whose row the caller has locked, new values; return whether any is new.

    ``values`` are fields by name. With another URL or channel, what the last check found goes in
    the same write. Only columns that differ are written. Raises :class:`UrlMissing`,
    ``InvalidPrice``, and what the database refuses as ``IntegrityError``.
    """
    before = {field.attname: getattr(offer, field.attname) for field in offer._meta.concrete_fields}
    for name, value in values.items():
        setattr(offer, name, value)
    if (offer.channel, offer.url) != (before["channel"], before["url"]):
        _reset_check(offer)
    changed = [name for name, value in before.items() if getattr(offer, name) != value]
    if {"price", "currency"} & set(changed):
        check_price(offer.price, offer.currency)
    if changed:
        with writing(offer):
            offer.save(update_fields=[*changed, "updated_by"])
    return bool(changed)


def discontinue(offers: OfferQuerySet) -> int:
    """Mark some offers as discontinued, in one statement; return how many were not so yet.

    To be called in a transaction.
    """
    # Locked in the order of their keys: two who mark the same ones do not wait for each other.
    wanted = offers.exclude(status=OfferStatus.DISCONTINUED).select_for_update(no_key=True)
    keys = list(wanted.order_by("pk").values_list("pk", flat=True))
    return Offer.objects.filter(pk__in=keys).update(
        status=OfferStatus.DISCONTINUED, updated_by=current_actor()
    )


def set_status_manually(offer: Offer, url_status: str) -> set[str]:
    """Put a person's word in the place of the checker's, and return which columns that changes.

    Nothing is saved. A check that is under way is dropped; the next one begins anew. With
    `unchecked` the person leaves the word to the checker, at once.
    """
    is_verdict = url_status != UrlStatus.UNCHECKED
    values: dict[str, Any] = {
        **UNCHECKED_STATE,
        "url_status": url_status,
        "url_detail": MANUAL_STATUS_DETAIL if is_verdict else "",
        "url_failing_since": Now() if url_status in FAILING else None,
        "url_check_at": Now() + MANUAL_STATUS_FOR if is_verdict else Now(),
    }
    # When somebody looked last remains true.
    del values["url_checked_at"]
    for name, value in values.items():
        setattr(offer, name, value)
    return set(values)


def _reset_check(offer: Offer) -> None:
    is_online = offer.channel == Channel.ONLINE
    if is_online and not offer.url:
        raise UrlMissing("An online offer needs a URL.")
    # The database does the same to a row it knows with another address, and sets when the check
    # is due; here it is in the response without another query.
    offer.url_status = UrlStatus.UNCHECKED if is_online else None
    for name, value in UNCHECKED_STATE.items():
        setattr(offer, name, value)
