"""The demo catalog: product number n is the same in a catalog of any size.

All values come from one seeded random generator. Only ids differ between runs, and dates are
relative to a given day. With the shares below, most of 1,250 products are complete and some lack
nearly everything.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar
from uuid import UUID

from catalog.gtin import check_digit
from catalog.models import ProductStatus
from certifications.models import VerificationStatus
from closient.db.ids import uuid7
from dashboard.demo.rows import CertificateRow, Entry, ImageRow, OfferRow, ProductRow
from dashboard.demo.vocabulary import (
    CATEGORIES,
    COUNTRIES,
    DESCRIPTIONS,
    RETAILERS,
    STORES,
    VARIETIES,
    Category,
)
from offers.models import FAILING, Channel, OfferStatus, UrlStatus
from offers.url_checks.verdict import STRIKES_FOR_VERDICT

SEED = 1250
NEVER = datetime.date(9999, 12, 31)
EMPTY_JSON = "{}"
ONLINE, IN_STORE = Channel.ONLINE.value, Channel.IN_STORE.value

_Choice = TypeVar("_Choice")


class Shares(NamedTuple):
    """The probability that a product has each fact."""

    name: float
    description: float
    brand: float
    category: float
    country: float
    images: float
    nutrition: float
    offers: float
    certificates: float


WELL_KEPT = Shares(1, 1, 1, 1, 1, 0.99, 0.86, 0.62, 0.34)
NEGLECTED = Shares(0.9, 0.1, 0.3, 0.2, 0.25, 0.64, 0.05, 0.2, 0.04)
SHARE_WELL_KEPT = 0.82


class UrlOutcome(NamedTuple):
    """The result of the check of a demo offer's address."""

    url_status: str
    http_status: int | None
    detail: str


# The number of addresses with each outcome, per thousand; details as the checker writes them.
URL_OUTCOMES = {
    UrlOutcome(UrlStatus.OK.value, 200, ""): 900,
    UrlOutcome(UrlStatus.UNCHECKED.value, None, ""): 35,
    UrlOutcome(UrlStatus.BROKEN.value, 404, "The shop returned 404 Not Found."): 28,
    UrlOutcome(UrlStatus.TIMEOUT.value, None, "The shop did not respond within 20 seconds."): 12,
    UrlOutcome(UrlStatus.DNS_FAILURE.value, None, "The host name does not exist."): 5,
    UrlOutcome(
        UrlStatus.BLOCKED.value,
        403,
        "The shop returned 403 Forbidden: it blocks the checker.",
    ): 20,
}
PRODUCT_STATUSES = {
    ProductStatus.DRAFT.value: 4,
    ProductStatus.ACTIVE.value: 90,
    ProductStatus.DISCONTINUED.value: 6,
}
OFFER_STATUSES = {
    OfferStatus.ACTIVE.value: 86,
    OfferStatus.DISCONTINUED.value: 5,
    OfferStatus.SEASONAL.value: 4,
    OfferStatus.OUT_OF_STOCK.value: 5,
}
VERIFICATION_STATUSES = {
    VerificationStatus.UNVERIFIED.value: 40,
    VerificationStatus.VERIFIED.value: 55,
    VerificationStatus.EXPIRED.value: 5,
}


def gtin(number: int) -> str:
    """Return the GTIN-14 of a product number below 10**10.

    It has one of the GS1 prefixes 20 to 29 for restricted circulation, so it never identifies a
    real product.
    """
    digits = f"029{number:010d}"
    return digits + check_digit(digits)


class DemoCatalog:
    """Generates the demo products of one organization."""

    def __init__(
        self,
        *,
        organization_id: UUID,
        brand_ids: Sequence[UUID],
        certification_ids: Sequence[UUID],
        today: datetime.date,
    ) -> None:
        self.organization_id = organization_id
        self.brand_ids = brand_ids
        self.certification_ids = certification_ids
        self.today = today
        self.checked_at = datetime.datetime.combine(
            today - datetime.timedelta(days=1), datetime.time(3), tzinfo=datetime.UTC
        )
        self.random = random.Random(SEED)  # noqa: S311 (nothing here is secret)

    def entries(self, products: int) -> Iterator[Entry]:
        """Yield a number of products with their images, offers and certificates, in order.

        Call it once: a second call would continue the random sequence.
        """
        for number in range(1, products + 1):
            shares = WELL_KEPT if self._chance(SHARE_WELL_KEPT) else NEGLECTED
            category: Category = self.random.choice(CATEGORIES)
            variety = self.random.choice(VARIETIES)
            item = self.random.choice(category.items)
            product = self._product(number, shares, category, f"{variety} {item}".lstrip())
            yield Entry(
                product,
                self._images(product) if self._chance(shares.images) else [],
                self._offers(product, number) if self._chance(shares.offers) else [],
                self._certificates(product, number) if self._chance(shares.certificates) else [],
                category.package,
                item,
            )

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _weighted(self, weights: Mapping[_Choice, int]) -> _Choice:
        return self.random.choices(tuple(weights), tuple(weights.values()))[0]

    def _product(self, number: int, shares: Shares, category: Category, item: str) -> ProductRow:
        pick = self.random.choice
        size = pick(category.sizes)
        status = self._weighted(PRODUCT_STATUSES)
        return ProductRow(
            id=uuid7(),
            organization_id=self.organization_id,
            gtin=gtin(number),
            name=f"{item} {size}" if self._chance(shares.name) else "",
            description=pick(DESCRIPTIONS).format(item=item, size=size)
            if self._chance(shares.description)
            else "",
            brand_id=pick(self.brand_ids) if self._chance(shares.brand) else None,
            manufacturer="Demo Foods Manufacturing",
            category=category.name if self._chance(shares.category) else "",
            gpc_brick_code="",
            country_of_origin=pick(COUNTRIES) if self._chance(shares.country) else "",
            net_content=size,
            nutrition=category.nutrition if self._chance(shares.nutrition) else EMPTY_JSON,
            status=status,
            metadata=EMPTY_JSON,
        )

    def _images(self, product: ProductRow) -> list[ImageRow]:
        return [
            ImageRow(
                id=uuid7(),
                organization_id=self.organization_id,
                product_id=product.id,
                image="",
                external_url=f"https://images.example.com/{product.gtin}/{view}.jpg",
                title=view.capitalize(),
                is_primary=view == "front",
                priority=priority,
                is_imported=False,
                thumbnail_due_at=None,
            )
            for priority, view in enumerate(("front", "back") if self._chance(0.15) else ("front",))
        ]

    def _offers(self, product: ProductRow, number: int) -> list[OfferRow]:
        retailers = self.random.sample(RETAILERS, self.random.choices((1, 2, 3), (60, 30, 10))[0])
        price = Decimal(self.random.randrange(79, 1999)).scaleb(-2)
        return [
            self._offer(
                product,
                number=number,
                retailer=RETAILERS.index(retailer),
                price=price + index * Decimal("0.10"),
            )
            for index, retailer in enumerate(retailers)
        ]

    def _offer(
        self, product: ProductRow, *, number: int, retailer: int, price: Decimal
    ) -> OfferRow:
        name, host, currency = RETAILERS[retailer]
        is_online = self._chance(0.7)
        status = self._weighted(OFFER_STATUSES)
        outcome = self._weighted(URL_OUTCOMES) if is_online else None
        is_checked = outcome is not None and outcome.url_status != UrlStatus.UNCHECKED
        failing_since = self._failing_since(outcome)
        return OfferRow(
            id=uuid7(),
            organization_id=self.organization_id,
            product_id=product.id,
            channel=ONLINE if is_online else IN_STORE,
            retailer=name,
            store="" if is_online else self.random.choice(STORES),
            sku=f"{retailer + 1}{number:07d}",
            url=f"https://{host}/products/{product.gtin}" if is_online else "",
            price=price,
            currency=currency,
            status=status,
            url_status=outcome.url_status if outcome else None,
            http_status=outcome.http_status if outcome else None,
            url_checked_at=self.checked_at if is_checked else None,
            url_failing_since=failing_since,
            url_detail=outcome.detail if outcome else "",
            # The shops do not exist: the worker must never check them.
            url_check_at=None,
            url_strikes=STRIKES_FOR_VERDICT if failing_since else 0,
            url_struck_first_at=failing_since,
            url_struck_last_at=self.checked_at if failing_since else None,
            metadata=EMPTY_JSON,
        )

    def _failing_since(self, outcome: UrlOutcome | None) -> datetime.datetime | None:
        if outcome is None or outcome.url_status not in FAILING:
            return None
        return self.checked_at - datetime.timedelta(days=self.random.randrange(30))

    def _certificates(self, product: ProductRow, number: int) -> list[CertificateRow]:
        certifications = self.random.sample(self.certification_ids, 2 if self._chance(0.2) else 1)
        return [
            self._certificate(product, number=number, certification_id=certification_id)
            for certification_id in certifications
        ]

    def _certificate(
        self, product: ProductRow, *, number: int, certification_id: UUID
    ) -> CertificateRow:
        number_of_kind = self.certification_ids.index(certification_id)
        valid_from, expiry_date = self._validity()
        return CertificateRow(
            id=uuid7(),
            organization_id=self.organization_id,
            product_id=product.id,
            certification_id=certification_id,
            certificate_number=f"C{number_of_kind + 1}-{number:07d}",
            issuing_body="",
            valid_from=valid_from,
            expiry_date=expiry_date,
            verification_status=self._weighted(VERIFICATION_STATUSES),
            verification_url="",
            metadata=EMPTY_JSON,
        )

    def _validity(self) -> tuple[datetime.date | None, datetime.date | None]:
        """Return the first and last day of a certificate; ``None`` for no limit.

        Of a hundred, 8 are expired, 12 expire within 60 days, 62 later, 12 never, 4 have the
        year 9999 that registers write for never, and 2 are not valid yet.
        """
        today, day = self.today, datetime.timedelta(days=1)
        began = today - self.random.randrange(1, 1000) * day
        roll = self.random.randrange(100)
        if roll < 8:
            return began - 730 * day, today - self.random.randrange(1, 700) * day
        if roll < 20:
            return began, today + self.random.randrange(1, 61) * day
        if roll < 82:
            return began, today + self.random.randrange(61, 1500) * day
        if roll < 94:
            return began if self._chance(0.7) else None, None
        if roll < 98:
            return began, NEVER
        return today + self.random.randrange(5, 90) * day, today + 1000 * day
