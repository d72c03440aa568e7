"""What an offer can be: its channel, its status, and what is known of its address."""

from __future__ import annotations

from django.db import models


class Channel(models.TextChoices):
    """How an offer reaches people."""

    ONLINE = "online"
    IN_STORE = "in_store"


class OfferStatus(models.TextChoices):
    """Whether the product is offered just now."""

    ACTIVE = "active"
    DISCONTINUED = "discontinued"
    SEASONAL = "seasonal"
    OUT_OF_STOCK = "out_of_stock"


class UrlStatus(models.TextChoices):
    """What the last URL check found; an offer in a store has none."""

    UNCHECKED = "unchecked"
    OK = "ok"
    BROKEN = "broken"
    TIMEOUT = "timeout"
    DNS_FAILURE = "dns_failure"
    BLOCKED = "blocked"


# An online offer in one of these is a broken offer, whatever its own status.
FAILING = (UrlStatus.BROKEN, UrlStatus.TIMEOUT, UrlStatus.DNS_FAILURE)
