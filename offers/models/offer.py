"""Offers: where a product can be bought, and whether its URL works."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from django.contrib.postgres.indexes import OpClass
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import MD5, Coalesce, Now, Upper

from catalog.models import product_fk, updated_by
from closient.accounts.models import Organization
from closient.changes.triggers import recorders
from closient.db.fields import normalize_fields, organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey
from closient.db.url_hosts import host_of
from closient.tally import triggers as tally
from closient.tally.declarations import Account, Counter
from closient.tally.timestamps import TouchTrigger, UpdatedAtField, created_before_updated
from closient.text.fields import NormalCharField, NormalJSONField
from closient.text.metadata import clean_metadata
from closient.text.urls import clean_url
from closient.text.validators import InvalidField
from offers.currencies import (
    MAX_PLACES,
    check_price,
    clean_currency,
    shown_price,
)
from offers.models.address import ResetCheck, StoreWithoutCheck
from offers.models.choices import FAILING, Channel, OfferStatus, UrlStatus

# An offer in a store has no URL status: in its tally bucket that is the empty string.
URL_STATUS_OR_EMPTY = Coalesce("url_status", Value(""))


class OfferQuerySet(models.QuerySet["Offer"]):
    """Queries of offers."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the offers of one organization."""
        return self.filter(organization=organization)

    def active(self) -> Self:
        """Return the active offers of both channels."""
        return self.filter(status=OfferStatus.ACTIVE)

    def broken(self) -> Self:
        """Return the online offers whose URL fails, whatever their status."""
        return self.filter(channel=Channel.ONLINE, url_status__in=FAILING)

    def with_gtin(self) -> Self:
        """Return the offers with the GTIN and name of their product, which are all that is read."""
        own = [field.name for field in self.model._meta.concrete_fields]
        return self.select_related("product").only(*own, "product__gtin", "product__name")


class Offer(models.Model):
    """One retailer's offer of a product, online or in a store."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("offers")
    product = product_fk("offers")
    channel = models.CharField(max_length=16, choices=Channel, default=Channel.ONLINE)
    retailer = NormalCharField(max_length=255, blank=True, help_text="Retailer; empty if unknown.")
    store = NormalCharField(
        max_length=255,
        blank=True,
        help_text="Which of the retailer's stores; empty for none in particular.",
    )
    sku = NormalCharField(
        "SKU",
        max_length=100,
        blank=True,
        help_text="The retailer's own number for the trade item.",
    )
    url = models.URLField(
        "URL", max_length=1000, blank=True, help_text="Required for online offers."
    )
    price = models.DecimalField(
        max_digits=10 + MAX_PLACES, decimal_places=MAX_PLACES, null=True, blank=True
    )
    currency = models.CharField(max_length=3, blank=True, help_text="ISO 4217, such as EUR.")
    status = models.CharField(max_length=16, choices=OfferStatus, default=OfferStatus.ACTIVE)
    url_status = models.CharField(
        "URL status", max_length=16, choices=UrlStatus, null=True, blank=True
    )
    http_status = models.PositiveSmallIntegerField(
        "HTTP status", null=True, blank=True, editable=False
    )
    url_checked_at = models.DateTimeField("URL checked at", null=True, blank=True, editable=False)
    url_failing_since = models.DateTimeField(
        "URL failing since", null=True, blank=True, editable=False
    )
    url_detail = models.CharField("URL detail", max_length=500, blank=True, editable=False)
    # When the next check is due; a claim moves it ahead. NULL: never scheduled.
    url_check_at = models.DateTimeField(
        "URL check at", null=True, blank=True, db_default=Now(), editable=False
    )
    # Strikes of failures in a row (offers.url_checks.verdict).
    url_strikes = models.PositiveSmallIntegerField(
        "URL strikes", default=0, db_default=0, editable=False
    )
    url_struck_first_at = models.DateTimeField(null=True, blank=True, editable=False)
    url_struck_last_at = models.DateTimeField(null=True, blank=True, editable=False)
    url_host = models.GeneratedField(
        expression=host_of("url"),
        output_field=models.CharField(max_length=253),
        db_persist=True,
    )
    metadata = NormalJSONField(default=dict, blank=True, help_text="Your own keys and texts.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = UpdatedAtField()
    updated_by = updated_by()

    objects = OfferQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # Newest first within one organization: admin and API lists.
            models.Index(fields=["organization", "-id"], name="offers_offer_newest"),
            # By last change: the change feed, and lists of what has changed since a time.
            models.Index(fields=["organization", "updated_at", "id"], name="offers_offer_changed"),
            # Lists by channel, status and URL status: a range for each bucket of the tally.
            models.Index(
                "organization",
                "channel",
                "status",
                URL_STATUS_OR_EMPTY,
                F("id").desc(),
                include=["url_status"],
                name="offers_offer_bucket",
            ),
            # Lists by retailer, with or without the other filters.
            models.Index(
                fields=["organization", "retailer", "-id"],
                include=["channel", "status", "url_status"],
                name="offers_offer_by_retailer",
            ),
            # Lists by SKU.
            models.Index(
                fields=["organization", "sku", "-id"],
                name="offers_offer_by_sku",
                condition=~Q(sku=""),
            ),
            # Broken offers of one organization by retailer.
            models.Index(
                fields=["organization", "retailer", "-id"],
                include=["status", "url_status", "url_failing_since"],
                name="offers_offer_failing",
                condition=Q(channel=Channel.ONLINE, url_status__in=FAILING),
            ),
            # Due checks by host: a huge shop cannot block the queue.
            models.Index(
                fields=["url_host", "url_check_at"],
                name="offers_offer_check_by_host",
                condition=Q(channel=Channel.ONLINE, url_check_at__isnull=False),
            ),
            # Due checks of one URL, which share one request. By hash, which is shorter.
            models.Index(
                MD5("url"),
                "url_check_at",
                name="offers_offer_check_by_url",
                condition=Q(channel=Channel.ONLINE, url_check_at__isnull=False),
            ),
            # How many checks of one organization are overdue (offers.url_checks.schedule.due).
            models.Index(
                fields=["organization", "url_check_at"],
                name="offers_offer_check_overdue",
                condition=Q(channel=Channel.ONLINE, url_check_at__isnull=False),
            ),
            # Search by the beginning of the retailer.
            models.Index(
                OpClass(Upper("retailer"), name="text_pattern_ops"), name="offers_offer_retailer"
            ),
        ]
        constraints = [
            created_before_updated("offers_offer_created_before_updated"),
            TenantForeignKey(name="offers_offer_product_fk", field="product"),
            # Also the order of a product's offers, and the cascade from products.
            models.UniqueConstraint(
                fields=[
                    "organization",
                    "product",
                    "channel",
                    "retailer",
                    "store",
                    "sku",
                ],
                name="offers_offer_unique",
                violation_error_message=(
                    "The product has an offer of this channel, retailer, store and SKU already."
                ),
            ),
            models.CheckConstraint(
                condition=Q(channel__in=Channel.values), name="offers_offer_channel"
            ),
            models.CheckConstraint(
                condition=Q(status__in=OfferStatus.values), name="offers_offer_status"
            ),
            models.CheckConstraint(
                condition=Q(channel=Channel.ONLINE, url_status__in=UrlStatus.values)
                | Q(channel=Channel.IN_STORE, url_status=None),
                name="offers_offer_url_status",
                violation_error_message=(
                    "An online offer has a URL status; an offer in a store has none."
                ),
            ),
            models.CheckConstraint(
                condition=~Q(channel=Channel.ONLINE, url=""),
                name="offers_offer_url_when_online",
                violation_error_message="An online offer needs a URL.",
            ),
            models.CheckConstraint(
                condition=Q(price=None) | Q(price__gte=0),
                name="offers_offer_price",
                violation_error_message="A price is 0 or more.",
            ),
            models.CheckConstraint(
                condition=Q(currency="") | Q(currency__regex=r"^[A-Z]{3}$"),
                name="offers_offer_currency",
                violation_error_message="A currency is three capital letters (ISO 4217).",
            ),
        ]
        triggers = (
            TouchTrigger(
                "organization_id",
                "product_id",
                "channel",
                "retailer",
                "store",
                "sku",
                "url",
                "price",
                "currency",
                "status",
                "metadata",
            ),
            *tally.triggers(
                Counter(
                    "product",
                    "active_offer_count",
                    where={"status": OfferStatus.ACTIVE.value},
                ),
                Account("offers", bucket=("channel", "status", "url_status")),
            ),
            ResetCheck(),
            StoreWithoutCheck(),
            *recorders(
                "offer",
                columns=(
                    "channel",
                    "retailer",
                    "store",
                    "sku",
                    "url",
                    "price",
                    "currency",
                    "status",
                    "metadata",
                ),
                derived=("url_status",),
            ),
        )

    def __str__(self) -> str:
        return " ".join(filter(None, [self.retailer, self.store, self.sku])) or str(self.url)

    def clean(self) -> None:
        """Set the URL status that the channel requires, and normalize and validate the fields."""
        if self.channel == Channel.IN_STORE:
            self.url_status = None
        elif self.url_status is None:
            self.url_status = UrlStatus.UNCHECKED
        normalize_fields(self, url=clean_url, currency=clean_currency, metadata=clean_metadata)
        try:
            check_price(self.price, self.currency)
        except InvalidField as error:
            raise ValidationError({error.field: str(error)}, code=error.code) from None

    @property
    def shown_price(self) -> str | None:
        """The price with the decimals of its currency."""
        return shown_price(self.price, self.currency)
