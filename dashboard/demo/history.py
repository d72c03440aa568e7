"""The history of the demo catalog: its state 90 days ago, and the changes since.

Products are added and completed, addresses break and are fixed, certificates approach their expiry
and are renewed. The last step leaves exactly the rows of :mod:`dashboard.demo.catalog`.
"""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Iterable
from typing import Any

from catalog.models import ProductStatus
from certifications.models import EXPIRING_WITHIN
from dashboard.demo.rows import CertificateRow, Entry, OfferRow, ProductRow
from offers.models import FAILING, UrlStatus
from offers.url_checks.verdict import STRIKES_FOR_VERDICT

DAYS = 90
STEP_DAYS = 3
STEPS = DAYS // STEP_DAYS
# Only this many products have a history; those beyond are written once.
PRODUCTS = 1_250
SEED = 90

# How many per thousand were missing, broken or about to expire 90 days ago.
LATER_PRODUCT, LATER_DESCRIPTION, LATER_IMAGES, LATER_OFFER = 90, 140, 50, 60
REPAIRED_OFFER, RENEWED_CERTIFICATE = 30, 80

Row = tuple[Any, ...]

# The columns that change, by type of row.
CHANGING: dict[type[Row], tuple[str, ...]] = {
    ProductRow: ("description",),
    OfferRow: (
        "url_status",
        "http_status",
        "url_failing_since",
        "url_detail",
        "url_strikes",
        "url_struck_first_at",
        "url_struck_last_at",
    ),
    CertificateRow: ("expiry_date",),
}


@dataclasses.dataclass
class DayChanges:
    """The rows that a step adds, and those that it sets to their final values."""

    added: list[Row] = dataclasses.field(default_factory=list)
    changed: list[ProductRow | OfferRow | CertificateRow] = dataclasses.field(default_factory=list)


class DemoHistory:
    """Splits the entries of a catalog into the rows of 90 days ago and later changes."""

    def __init__(self, today: datetime.date) -> None:
        self.today = today
        # The first step is the initial state and has no changes; the last one is today.
        self.changes = [DayChanges() for _ in range(STEPS + 1)]
        self._random = random.Random(SEED)  # noqa: S311 (nothing here is secret)
        self._products = 0

    def first_state(self, entries: Iterable[Entry]) -> list[Row]:
        """Return the rows of entries as they were 90 days ago; adds the rest to ``changes``."""
        rows: list[Row] = []
        for entry in entries:
            self._products += 1
            whole = [entry.product, *entry.images, *entry.offers, *entry.certificates]
            if self._products > PRODUCTS:
                rows += whole
            elif self._chance(LATER_PRODUCT):
                self._later.added += whole
            else:
                rows += self._past_of(entry)
        return rows

    def _past_of(self, entry: Entry) -> list[Row]:
        rows: list[Row] = [self._past_of_product(entry.product)]
        if entry.images and self._chance(LATER_IMAGES):
            self._later.added += entry.images
        else:
            rows += entry.images
        for offer in entry.offers:
            if self._chance(LATER_OFFER):
                self._later.added.append(offer)
            else:
                rows.append(self._past_of_offer(offer))
        return rows + [self._past_of_certificate(one) for one in entry.certificates]

    def _past_of_product(self, product: ProductRow) -> ProductRow:
        is_draft = product.status == ProductStatus.DRAFT
        if is_draft or not product.description or not self._chance(LATER_DESCRIPTION):
            return product
        self._later.changed.append(product)
        return product._replace(description="")

    def _past_of_offer(self, offer: OfferRow) -> OfferRow:
        """Return an offer before its address broke or was fixed."""
        since = offer.url_failing_since
        if offer.url_status in FAILING and since is not None:
            self._changes_at((self.today - since.date()).days).changed.append(offer)
            return offer._replace(
                url_status=UrlStatus.OK.value,
                http_status=200,
                url_failing_since=None,
                url_detail="",
                url_strikes=0,
                url_struck_first_at=None,
                url_struck_last_at=None,
            )
        if offer.url_status == UrlStatus.OK and self._chance(REPAIRED_OFFER):
            self._later.changed.append(offer)
            return offer._replace(
                url_status=UrlStatus.BROKEN.value,
                http_status=404,
                url_failing_since=offer.url_checked_at,
                url_detail="The shop returned 404 Not Found.",
                url_strikes=STRIKES_FOR_VERDICT,
                url_struck_first_at=offer.url_checked_at,
                url_struck_last_at=offer.url_checked_at,
            )
        return offer

    def _past_of_certificate(self, certificate: CertificateRow) -> CertificateRow:
        """Return a certificate before it came close to its expiry, or before its renewal."""
        begins, ends = certificate.valid_from, certificate.expiry_date
        if ends is None or ends <= self.today or (begins is not None and begins > self.today):
            return certificate
        day = datetime.timedelta(days=1)
        ahead = (ends - self.today).days
        if ahead <= EXPIRING_WITHIN:
            self._changes_at(EXPIRING_WITHIN - ahead).changed.append(certificate)
            return certificate._replace(expiry_date=ends + DAYS * day)
        if self._chance(RENEWED_CERTIFICATE):
            self._later.changed.append(certificate)
            soon = self.today + self._random.randrange(1, EXPIRING_WITHIN + 1) * day
            return certificate._replace(expiry_date=soon)
        return certificate

    def _chance(self, per_thousand: int) -> bool:
        return self._random.randrange(1000) < per_thousand

    @property
    def _later(self) -> DayChanges:
        """A random step after the first one."""
        return self.changes[self._random.randrange(1, STEPS + 1)]

    def _changes_at(self, days_back: int) -> DayChanges:
        """Return the step of a day."""
        return self.changes[(DAYS - days_back) // STEP_DAYS]
