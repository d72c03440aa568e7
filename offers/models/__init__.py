"""Offers: where a product can be bought, and whether its URL works."""

from offers.models.checked_host import CheckedHost
from offers.models.choices import FAILING, Channel, OfferStatus, UrlStatus
from offers.models.offer import Offer, OfferQuerySet

__all__ = [
    "FAILING",
    "Channel",
    "CheckedHost",
    "Offer",
    "OfferQuerySet",
    "OfferStatus",
    "UrlStatus",
]
