"""Validates the lines of an archive: rows that are ready for ``COPY``, with the rules of the API.

Products take the rules of the import, offers and certificates those of the API's serializers.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from rest_framework import serializers

from catalog.completeness import Rule
from catalog.csv_columns import IMAGE_URL, IMAGE_URLS
from catalog.gtin import normalize_gtin
from catalog.models import Brand, ProductImage
from catalog.serializers import RuleSerializer, rule_from
from certifications.editing import check_dates
from certifications.models import VerificationStatus
from certifications.serializers import CertificationAssignmentSerializer, CertificationSerializer
from closient.db.ids import uuid7
from closient.http.exceptions import field_errors
from closient.http.fields import TextField, WholeNumberField
from closient.text.metadata import clean_metadata
from closient.text.normal import nfc
from closient.text.urls import clean_url
from closient.text.validators import DESCRIPTION_LENGTH, InvalidField, InvalidText, check_text
from dashboard.archive.contents import (
    CERTIFICATIONS,
    OFFERS,
    RULE,
    TRADE_ITEMS,
    UNUSED_BRANDS,
    UNUSED_CERTIFICATIONS,
)
from dashboard.archive.reading import ArchiveFile, InvalidArchive
from dashboard.imports.layouts.own_json import parse_product
from dashboard.imports.repair.conventions import Conventions
from dashboard.imports.validate import StagedRecord, clean_record
from offers.currencies import check_price
from offers.models import Channel, Offer, OfferStatus, UrlStatus
from offers.serializers import OfferSerializer

MAX_LISTED = 20
# Read by other rules than those of the import.
_NOT_OF_PRODUCT = frozenset(("metadata", IMAGE_URL, IMAGE_URLS))

_Row = TypeVar("_Row")
_encode = json.JSONEncoder(ensure_ascii=False).encode


class InvalidRows(InvalidArchive):
    """Some lines are not valid; ``problems`` are the first ones, as sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


class ImageRow(NamedTuple):
    """An image, with the GTIN of its product and the name of its file in the archive."""

    id: UUID
    line: int
    gtin: str
    file: str
    external_url: str
    title: str
    is_primary: bool
    priority: int
    is_imported: bool


class OfferRow(NamedTuple):
    """An offer with the result of its last check, and the GTIN of its product."""

    id: UUID
    line: int
    gtin: str
    channel: str
    retailer: str
    store: str
    sku: str
    url: str
    price: Decimal | None
    currency: str
    status: str
    metadata: str
    url_status: str | None
    http_status: int | None
    url_checked_at: datetime.datetime | None
    url_failing_since: datetime.datetime | None
    url_detail: str


class AssignmentRow(NamedTuple):
    """A certificate, its certification, and the GTIN of its product."""

    id: UUID
    line: int
    gtin: str
    code: str
    label: str
    body: str
    certificate_number: str
    issuing_body: str
    valid_from: datetime.date | None
    expiry_date: datetime.date | None
    verification_status: str
    verification_url: str
    metadata: str


class BrandRow(NamedTuple):
    """A brand without products."""

    id: UUID
    name: str


class CertificationRow(NamedTuple):
    """A certification without certificates."""

    id: UUID
    code: str
    label: str
    body: str


class _BrandSerializer(serializers.Serializer[Any]):
    name = TextField(max_length=Brand._meta.get_field("name").max_length or 0)


def product_rows(archive: ArchiveFile) -> Iterator[StagedRecord]:
    """Yield the products; one that is not valid has a ``problem``.

    What imports repair in files of others is left as it is: a description may be HTML.
    """
    conventions = Conventions(lambda: iter(()))
    for line, item in archive.lines(TRADE_ITEMS):
        try:
            metadata = clean_metadata(item.get("metadata", {}))
        except InvalidText as error:
            raise InvalidRows([f"{TRADE_ITEMS}, line {line}: metadata: {error}."]) from None
        description = item.get("description")
        try:
            if isinstance(description, str):
                check_text(description, DESCRIPTION_LENGTH, several_lines=True)
        except InvalidText as error:
            raise InvalidRows([f"{TRADE_ITEMS}, line {line}: description: {error}."]) from None
        others = {name: value for name, value in item.items() if name not in _NOT_OF_PRODUCT}
        record = clean_record(
            line, parse_product(others), overwrite_blank=False, conventions=conventions
        )
        if record.product.problem is None:
            product = record.product._replace(metadata=_encode(metadata))
            if product.description:
                product = product._replace(description=nfc(str(description)))
            record = record._replace(product=product)
        yield record


def image_rows(archive: ArchiveFile) -> Iterator[ImageRow]:
    """Yield the images, those of a product from the last to the first.

    The newest image of equal ones comes first, so the first must get the newest id. Raises
    :class:`InvalidRows` for images that are not valid, and for files of no image or of several.
    """
    unused = set(archive.images)

    def rows_of(line: int, item: Mapping[str, Any]) -> list[ImageRow]:
        gtin = normalize_gtin(str(item.get("gtin")))
        images = item.get("images", [])
        if not isinstance(images, list):
            raise InvalidText("images: must be a list")
        rows = [
            _image_row(line, gtin, images[place], f"images[{place}]")
            for place in reversed(range(len(images)))
        ]
        if sum(row.is_primary for row in rows) > 1:
            raise InvalidText("images: at most one can be primary")
        for row in rows:
            if row.file and row.file not in unused:
                raise InvalidText(f"images: {row.file[:80]!a} is not in the archive, or used twice")
            unused.discard(row.file)
        return rows

    for rows in _validated(archive, TRADE_ITEMS, rows_of):
        yield from rows
    if unused:
        raise InvalidRows([f"{min(unused)} belongs to no trade item."])


class _ImageSerializer(serializers.Serializer[Any]):
    """An image as the archive has it."""

    external_url = TextField(max_length=1000, allow_null=True)
    file = TextField(max_length=100, allow_null=True)
    title = TextField(
        max_length=ProductImage._meta.get_field("title").max_length or 0, allow_blank=True
    )
    is_primary = serializers.BooleanField()
    priority = WholeNumberField(min_value=-(2**31), max_value=2**31 - 1)
    is_imported = serializers.BooleanField()


_images = _ImageSerializer()


def _image_row(line: int, gtin: str, item: Any, place: str) -> ImageRow:
    try:
        values = _images.run_validation(item)
        if (values["external_url"] is None) == (values["file"] is None):
            raise InvalidText("must have either an external_url or a file")
        if values["external_url"] is not None:
            clean_url(values["external_url"])
        elif values["is_imported"]:
            raise InvalidText("only an image with an external_url can be imported")
    except serializers.ValidationError as error:
        raise InvalidText(f"{place}: {_sentence(error)}") from None
    except ValueError as error:
        raise InvalidText(f"{place}: {error}") from None
    filled: dict[str, Any] = {
        name: "" if value is None else value for name, value in values.items()
    }
    return ImageRow(id=uuid7(), line=line, gtin=gtin, **filled)


class _CheckSerializer(serializers.Serializer[Any]):
    """The result of the last check of an offer's URL."""

    url_status = serializers.ChoiceField(UrlStatus.values, allow_null=True)
    http_status = WholeNumberField(min_value=100, max_value=999, allow_null=True)
    url_checked_at = serializers.DateTimeField(allow_null=True)
    url_failing_since = serializers.DateTimeField(allow_null=True)
    url_detail = TextField(
        max_length=Offer._meta.get_field("url_detail").max_length or 0, allow_blank=True
    )


def offer_rows(archive: ArchiveFile) -> Iterator[OfferRow]:
    """Yield the offers. Raises :class:`InvalidRows`."""
    of_offer, of_check = OfferSerializer(), _CheckSerializer()
    names_of_check = set(of_check.get_fields())

    def row_of(line: int, item: Mapping[str, Any]) -> OfferRow:
        values = of_offer.run_validation(item)
        given = {name: value for name, value in item.items() if name in names_of_check}
        check = of_check.run_validation(given)
        channel = values.get("channel", Channel.ONLINE.value)
        price, currency = values.get("price"), values.get("currency", "")
        check_price(price, currency)
        is_online = channel == Channel.ONLINE
        if is_online and not values.get("url"):
            raise InvalidField("An online offer needs a URL.", field="url", code="required")
        if is_online == (check["url_status"] is None):
            raise InvalidField(
                "An online offer has a URL status; an offer in a store has none.",
                field="url_status",
                code="channel",
            )
        return OfferRow(
            id=uuid7(),
            line=line,
            gtin=values["product"]["gtin"],
            channel=channel,
            price=price,
            currency=currency,
            status=values.get("status", OfferStatus.ACTIVE.value),
            metadata=_encode(values.get("metadata", {})),
            **{name: values.get(name, "") for name in ("retailer", "store", "sku", "url")},
            **check,
        )

    return _validated(archive, OFFERS, row_of)


def assignment_rows(archive: ArchiveFile) -> Iterator[AssignmentRow]:
    """Yield the certificates. Raises :class:`InvalidRows`."""
    serializer = CertificationAssignmentSerializer()

    def row_of(line: int, item: Mapping[str, Any]) -> AssignmentRow:
        values = serializer.run_validation(item)
        begins, ends = values.get("valid_from"), values.get("expiry_date")
        check_dates(begins, ends)
        certification = values["certification"]
        texts = ("certificate_number", "issuing_body", "verification_url")
        return AssignmentRow(
            id=uuid7(),
            line=line,
            gtin=values["product"]["gtin"],
            code=certification["code"],
            label=certification.get("label", ""),
            body=certification.get("body", ""),
            valid_from=begins,
            expiry_date=ends,
            verification_status=values.get(
                "verification_status", VerificationStatus.UNVERIFIED.value
            ),
            metadata=_encode(values.get("metadata", {})),
            **{name: values.get(name, "") for name in texts},
        )

    return _validated(archive, CERTIFICATIONS, row_of)


def brand_rows(archive: ArchiveFile) -> Iterator[BrandRow]:
    """Yield the brands without products. Raises :class:`InvalidRows`."""
    serializer = _BrandSerializer()

    def row_of(line: int, item: Mapping[str, Any]) -> BrandRow:
        return BrandRow(id=uuid7(), name=serializer.run_validation(item)["name"])

    return _validated(archive, UNUSED_BRANDS, row_of)


def certification_rows(archive: ArchiveFile) -> Iterator[CertificationRow]:
    """Yield the certifications without certificates. Raises :class:`InvalidRows`."""
    serializer = CertificationSerializer()

    def row_of(line: int, item: Mapping[str, Any]) -> CertificationRow:
        values = serializer.run_validation(item)
        texts = {name: values.get(name, "") for name in ("code", "label", "body")}
        return CertificationRow(id=uuid7(), **texts)

    return _validated(archive, UNUSED_CERTIFICATIONS, row_of)


def own_rule(archive: ArchiveFile) -> Rule | None:
    """Return the organization's own rule; ``None`` for the default rule."""
    item = archive.read_json(RULE)
    try:
        rule = rule_from(RuleSerializer().run_validation(item))
    except serializers.ValidationError as error:
        raise InvalidRows([f"{RULE}: {_sentence(error)}"]) from None
    is_default = item.get("is_default")
    if not isinstance(is_default, bool):
        raise InvalidRows([f"{RULE}: is_default: Must be true or false."])
    return None if is_default else rule


def _validated(
    archive: ArchiveFile, name: str, row_of: Callable[[int, Mapping[str, Any]], _Row]
) -> Iterator[_Row]:
    """Yield the row of each line of a file; raises :class:`InvalidRows` with the first problems."""
    problems: list[str] = []
    for line, item in archive.lines(name):
        try:
            row = row_of(line, item)
        except serializers.ValidationError as error:
            problem = _sentence(error)
        except InvalidField as error:
            problem = f"{error.field}: {error}"
        except InvalidText as error:
            problem = f"{error}."
        else:
            if not problems:
                yield row
            continue
        problems.append(f"{name}, line {line}: {problem}")
        if len(problems) == MAX_LISTED:
            break
    if problems:
        raise InvalidRows(problems)


def _sentence(error: serializers.ValidationError) -> str:
    """Return what is wrong, with the names of the fields."""
    found = [
        f"{one.pointer.removeprefix('#/')}: {one.detail}" if one.pointer != "#" else one.detail
        for one in field_errors(error.detail)
    ]
    return " ".join(found[:3])
