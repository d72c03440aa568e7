"""Writing offers: what belongs together changes together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from catalog.models import Product
from offers.models import Channel, Offer, UrlStatus

# What a URL check found out, and the value that says that nobody has looked yet.
UNCHECKED: Mapping[str, Any] = {
    "http_status": None,
    "url_checked_at": None,
    "url_failing_since": None,
    "url_detail": "",
}


class UrlMissing(ValueError):
    """An online offer would be without a URL."""


def create_offer(product: Product, values: Mapping[str, Any]) -> Offer:
    """Return a new, saved offer of a product; an online one is not checked yet.

    ``values`` are fields by name. Raises :class:`UrlMissing`, and what the database refuses as
    ``IntegrityError``.
    """
    offer = Offer(organization_id=product.organization_id, product=product, **values)
    _reset_check(offer)
    offer.save(force_insert=True)
    return offer


def change_offer(offer: Offer, values: Mapping[str, Any]) -> bool:
    """Give an offer, whose row the caller has locked, new values; return whether any is new.

    ``values`` are fields by name. With another URL or channel, what the last check found goes in
    the same write. Only columns that differ are written. Raises :class:`UrlMissing`, and what the
    database refuses as ``IntegrityError``.
    """
    before = {field.attname: getattr(offer, field.attname) for field in offer._meta.concrete_fields}
    for name, value in values.items():
        setattr(offer, name, value)
    if (offer.channel, offer.url) != (before["channel"], before["url"]):
        _reset_check(offer)
    changed = [name for name, value in before.items() if getattr(offer, name) != value]
    if changed:
        offer.save(update_fields=[*changed, "updated_at"])
    return bool(changed)


def _reset_check(offer: Offer) -> None:
    is_online = offer.channel == Channel.ONLINE
    if is_online and not offer.url:
        raise UrlMissing("An online offer needs a URL.")
    offer.url_status = UrlStatus.UNCHECKED if is_online else None
    for name, value in UNCHECKED.items():
        setattr(offer, name, value)
