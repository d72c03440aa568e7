"""Creates and changes offers, with everything that changes along with a field."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from catalog.models import Product
from closient.accounts.actors import current_actor
from closient.http.conflicts import writing
from closient.text.validators import InvalidField
from offers.currencies import check_price
from offers.models import FAILING, Channel, Offer, OfferQuerySet, OfferStatus, UrlStatus
from offers.models.address import UNCHECKED_STATE

# How long a status that a person has set stays before the next check.
MANUAL_STATUS_FOR = datetime.timedelta(days=1)
MANUAL_STATUS_DETAIL = "A person has set this status."


def create_offer(product: Product, values: Mapping[str, Any]) -> Offer:
    """Create an offer of a product; the URL of an online offer is unchecked.

    ``values`` are fields by name. Raises ``InvalidField``, and ``IntegrityError``
    from the database.
    """
    offer = new_offer(product.organization_id, {**values, "product": product})
    with writing(offer):
        offer.save(force_insert=True)
    return offer


def new_offer(organization_id: UUID, values: Mapping[str, Any]) -> Offer:
    """Return an offer that is not saved yet; raises ``InvalidField``."""
    offer = Offer(organization_id=organization_id, **values)
    _reset_check(offer)
    check_price(offer.price, offer.currency)
    return offer


def change_offer(offer: Offer, values: Mapping[str, Any]) -> bool:
    """Change fields of an offer whose row the caller has locked; return whether any differs.

    ``values`` are fields by name. A new URL or channel also resets the result of the last check.
    Writes only columns that differ. Raises ``InvalidField``, and ``IntegrityError``
    from the database.
    """
    changed = assign_to_offer(offer, values)
    if changed:
        with writing(offer):
            offer.save(update_fields=[*changed, "updated_by"])
    return bool(changed)


def assign_to_offer(offer: Offer, values: Mapping[str, Any]) -> list[str]:
    """Set fields of an offer without saving it; return the columns that differ.

    Raises ``InvalidField``.
    """
    before = {field.attname: getattr(offer, field.attname) for field in offer._meta.concrete_fields}
    for name, value in values.items():
        setattr(offer, name, value)
    if (offer.channel, offer.url) != (before["channel"], before["url"]):
        _reset_check(offer)
    changed = [name for name, value in before.items() if getattr(offer, name) != value]
    if {"price", "currency"} & set(changed):
        check_price(offer.price, offer.currency)
    return changed


def discontinue(offers: OfferQuerySet) -> int:
    """Mark offers as discontinued in one statement; return how many were not before.

    Must be called in a transaction.
    """
    # Locks rows in the order of their keys, which avoids deadlocks.
    wanted = offers.exclude(status=OfferStatus.DISCONTINUED).select_for_update(no_key=True)
    keys = list(wanted.order_by("pk").values_list("pk", flat=True))
    return Offer.objects.filter(pk__in=keys).update(
        status=OfferStatus.DISCONTINUED, updated_by=current_actor()
    )


def set_status_manually(offer: Offer, url_status: str) -> set[str]:
    """Set an offer's URL status by hand; return the columns that change.

    Saves nothing. The result of a check in progress is dropped, and strikes start from zero. With
    `unchecked` a check is due at once.
    """
    is_verdict = url_status != UrlStatus.UNCHECKED
    values: dict[str, Any] = {
        **UNCHECKED_STATE,
        "url_status": url_status,
        "url_detail": MANUAL_STATUS_DETAIL if is_verdict else "",
        "url_failing_since": Now() if url_status in FAILING else None,
        "url_check_at": Now() + MANUAL_STATUS_FOR if is_verdict else Now(),
    }
    # The time of the last check stays.
    del values["url_checked_at"]
    for name, value in values.items():
        setattr(offer, name, value)
    return set(values)


def _reset_check(offer: Offer) -> None:
    is_online = offer.channel == Channel.ONLINE
    if is_online and not offer.url:
        raise InvalidField("An online offer needs a URL.", field="url", code="required")
    # A trigger does the same when the URL of a row changes, and sets when the check is due. Done
    # here too, the response shows it without another query.
    offer.url_status = UrlStatus.UNCHECKED if is_online else None
    for name, value in UNCHECKED_STATE.items():
        setattr(offer, name, value)
