"""The choices of an offer: channel, status and URL status."""

from __future__ import annotations

from django.db import models


class Channel(models.TextChoices):
    """Where an offer is sold."""

    ONLINE = "online"
    IN_STORE = "in_store"


class OfferStatus(models.TextChoices):
    """Whether the product is offered now."""

    ACTIVE = "active"
    DISCONTINUED = "discontinued"
    SEASONAL = "seasonal"
    OUT_OF_STOCK = "out_of_stock"


class UrlStatus(models.TextChoices):
    """The result of the last URL check; an offer in a store has none."""

    UNCHECKED = "unchecked"
    OK = "ok"
    BROKEN = "broken"
    TIMEOUT = "timeout"
    DNS_FAILURE = "dns_failure"
    BLOCKED = "blocked"


# An online offer with one of these is a broken offer, whatever its own status.
FAILING = (UrlStatus.BROKEN, UrlStatus.TIMEOUT, UrlStatus.DNS_FAILURE)
