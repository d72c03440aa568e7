"""Validates a record: returns its rows of the staging tables, or the reasons why it is rejected."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from catalog.countries import country_code
from catalog.gtin import InvalidGtin, normalize_gtin
from catalog.models import Brand, Product, ProductImage, ProductStatus
from catalog.nutrition import MAX_NUTRIENTS, SERVING_SIZE_LENGTH, clean_nutrient
from certifications.models import Certification, CertificationAssignment, VerificationStatus
from closient.db.ids import uuid7
from closient.text import metadata
from closient.text.normal import WHITE_SPACE, nfc
from closient.text.urls import is_web_address
from closient.text.validators import DESCRIPTION_LENGTH, InvalidField, InvalidText, check_text
from dashboard.imports.records import Problem, Record
from offers.currencies import check_price, clean_currency
from offers.models import Channel, Offer, OfferStatus

MAX_IMAGES = 50
_GPC_BRICK = re.compile(r"[0-9]{8}\Z")
_PRICE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,4})?\Z")
# Between the addresses in one cell. A comma or a blank within an address is part of it.
SEVERAL_URLS = re.compile(r"[\s,;|]+(?=https?://)")
_MAX_SHOWN = 40
_MAX_PROBLEMS = 10


class ProductRow(NamedTuple):
    """A row of the staging table of records (see ``staging.py``), in the order of its columns.

    None leaves a field of the product as it is. ``nutrition`` and ``metadata`` are JSON objects
    that are merged into the product's; a null in them removes the key. ``image_urls`` replace the
    imported images. A row with a ``problem`` is rejected; ``rules`` are the broken rules.
    """

    line: int
    gtin: str | None = None
    problem: str | None = None
    rules: list[str] | None = None
    name: str | None = None
    description: str | None = None
    brand: str | None = None
    manufacturer: str | None = None
    category: str | None = None
    gpc_brick_code: str | None = None
    country_of_origin: str | None = None
    net_content: str | None = None
    nutrition: str | None = None
    status: str | None = None
    metadata: str | None = None
    image_urls: list[str] | None = None
    image_keys: list[UUID] | None = None
    # The id of what the row creates: a product, its brand.
    new_key: UUID | None = None


class OfferRow(NamedTuple):
    """A row of the staging table of offers; None leaves a field of the offer as it is."""

    line: int
    channel: str
    retailer: str
    store: str
    sku: str
    url: str | None
    price: Decimal | None
    currency: str | None
    status: str | None
    new_key: UUID


class CertificateRow(NamedTuple):
    """A row of the staging table of certificates; None leaves a field as it is."""

    line: int
    certification: str
    label: str | None
    certificate_number: str
    issuing_body: str | None
    valid_from: datetime.date | None
    expiry_date: datetime.date | None
    verification_status: str | None
    verification_url: str | None
    new_key: UUID


class StagedRecord(NamedTuple):
    """The rows of one record."""

    product: ProductRow
    offers: Sequence[OfferRow] = ()
    certificates: Sequence[CertificateRow] = ()


def _length(model: type[models.Model], field: str) -> int:
    length: int | None = getattr(model._meta.get_field(field), "max_length", None)
    return length or DESCRIPTION_LENGTH


_LENGTHS = {
    **{
        field: _length(Product, field)
        for field in ("name", "description", "manufacturer", "category", "net_content", "status")
    },
    "gpc_brick_code": 255,
    "country_of_origin": 255,
    "brand": _length(Brand, "name"),
    "image_url": _length(ProductImage, "external_url"),
    "serving_size": SERVING_SIZE_LENGTH,
}
_OFFER_LENGTHS = {
    **{field: _length(Offer, field) for field in ("retailer", "store", "sku", "url")},
    **dict.fromkeys(("channel", "status", "price", "currency"), 255),
}
_CERTIFICATE_LENGTHS = {
    "certification": _length(Certification, "code"),
    "label": _length(Certification, "label"),
    **{
        field: _length(CertificationAssignment, field)
        for field in ("certificate_number", "issuing_body", "verification_url")
    },
    **dict.fromkeys(("verification_status", "valid_from", "expiry_date"), 255),
}
_encode = json.JSONEncoder(ensure_ascii=False).encode


def clean_record(line: int, record: Record, *, overwrite_blank: bool) -> StagedRecord:
    """A record as rows of the staging tables.

    With ``overwrite_blank`` an empty cell clears the field; without, it changes nothing.
    """
    problems = list(record.problems)
    gtin = _gtin(record.gtin, problems)
    texts: dict[str, str | None] = {}
    for field, text in record.texts.items():
        value = _text(field, text, _LENGTHS[field], problems)
        texts[field] = value if value or overwrite_blank else None
    # An empty cell removes a part that is null here.
    nutrition = {
        "serving_size": texts.pop("serving_size", None),
        "nutrients": _nutrients(record.nutrients, problems),
    }
    given = {part: value for part, value in nutrition.items() if value is not None}
    values = _metadata(record.metadata, problems)
    images = _images(record.images, problems)
    if not images and not overwrite_blank:
        images = None
    offers = [_offer(line, each, problems, overwrite_blank) for each in record.offers]
    certificates = [
        _certificate(line, each, problems, overwrite_blank) for each in record.certificates
    ]
    if problems:
        return StagedRecord(bad_row(line, problems, gtin))
    # A product always has a status.
    texts["status"] = texts.get("status") or None
    columns: dict[str, Any] = {**texts}
    product = ProductRow(
        line=line,
        gtin=gtin,
        nutrition=_merge_object(given, overwrite_blank=overwrite_blank),
        metadata=_merge_object(values, overwrite_blank=overwrite_blank),
        image_urls=images,
        image_keys=[uuid7() for _ in images] if images is not None else None,
        new_key=uuid7(),
        **columns,
    )
    # Without a problem, none of them is None.
    return StagedRecord(product, [*filter(None, offers)], [*filter(None, certificates)])


def bad_row(line: int, problems: Sequence[Problem], gtin: str | None = None) -> ProductRow:
    """The row of the staging table for a rejected record; its GTIN still counts as used."""
    more = len(problems) - _MAX_PROBLEMS
    shown = [str(problem) for problem in problems[:_MAX_PROBLEMS]]
    shown += [f"and {more} more problems"] if more > 0 else []
    rules = list(dict.fromkeys(problem.label for problem in problems))
    return ProductRow(line=line, gtin=gtin, problem="; ".join(shown), rules=rules)


def _gtin(text: str, problems: list[Problem]) -> str | None:
    if not text:
        if not any(problem.field == "gtin" for problem in problems):
            problems.append(Problem("gtin", "missing", "is missing"))
        return None
    try:
        return normalize_gtin(text)
    except InvalidGtin as error:
        shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
        problems.append(
            Problem("gtin", error.code, f"{str(error).removesuffix('.')} (found {shown!a})")
        )
        return None


def _text(field: str, text: str, length: int, problems: list[Problem]) -> str:
    """The value of a cell as it is stored: in NFC, stripped and validated."""
    text = nfc(text.strip(WHITE_SPACE))
    if not text:
        return ""
    rule = _RULES.get(field)
    try:
        check_text(text, length, several_lines=field == "description")
        return rule(text) if rule else text
    except InvalidText as error:
        problems.append(Problem(field, "not valid", str(error)))
        return ""


def _country(text: str) -> str:
    code = country_code(text)
    if code is None:
        raise InvalidText("must be a country: its ISO 3166-1 code, such as DE, or its English name")
    return code


def _gpc_brick_code(text: str) -> str:
    if not _GPC_BRICK.match(text):
        raise InvalidText("must be a GPC brick code of eight digits")
    return text


def _choice(choices: Sequence[str]) -> Any:
    def check(text: str) -> str:
        value = text.lower()
        if value not in choices:
            raise InvalidText(f"is none of {', '.join(choices)}")
        return value

    return check


def _url(text: str) -> str:
    if not is_web_address(text):
        raise InvalidText("must be a complete http or https URL")
    return text


_RULES = {
    "country_of_origin": _country,
    "gpc_brick_code": _gpc_brick_code,
    "status": _choice(ProductStatus.values),
    "image_url": _url,
    "offer_channel": _choice(Channel.values),
    "offer_status": _choice(OfferStatus.values),
    "offer_url": _url,
    "verification_status": _choice(VerificationStatus.values),
    "verification_url": _url,
}


def _images(given: Sequence[str] | None, problems: list[Problem]) -> list[str] | None:
    """The addresses of a record's images, each once, in their order."""
    if given is None:
        return None
    urls = [
        _text("image_url", url, _LENGTHS["image_url"], problems)
        for text in given
        for url in SEVERAL_URLS.split(text)
    ]
    urls = list(dict.fromkeys(url for url in urls if url))
    if len(urls) > MAX_IMAGES:
        problems.append(
            Problem(
                "image_url",
                "too many images",
                f"has {len(urls):,} images; at most {MAX_IMAGES} are allowed",
            )
        )
    return urls


def _offer(
    line: int, given: Mapping[str, str], problems: list[Problem], overwrite_blank: bool
) -> OfferRow | None:
    """The staging row of an offer; None if it is not valid."""
    before = len(problems)
    texts = {
        field: _text(f"offer_{field}", text, _OFFER_LENGTHS[field], problems)
        for field, text in given.items()
    }
    channel = texts.get("channel") or Channel.ONLINE.value
    price, currency = _price(texts, problems)
    if channel == Channel.ONLINE and not texts.get("url"):
        problems.append(
            Problem("offer_url", "missing", "is missing: an online offer needs the URL of its page")
        )
    if len(problems) > before:
        return None

    def changed(field: str) -> str | None:
        value = texts.get(field)
        return value if value or overwrite_blank else None

    return OfferRow(
        line=line,
        channel=channel,
        retailer=texts.get("retailer", ""),
        store=texts.get("store", ""),
        sku=texts.get("sku", ""),
        url=changed("url"),
        price=price,
        currency=currency,
        status=texts.get("status") or None,
        new_key=uuid7(),
    )


def _price(texts: Mapping[str, str], problems: list[Problem]) -> tuple[Decimal | None, str | None]:
    """The price and the currency of an offer; both None without a price."""
    text = texts.get("price", "")
    if not text:
        return None, None
    amount, _, unit = text.partition(" ")
    currency = unit.strip() or texts.get("currency", "")
    if not _PRICE.match(amount):
        problems.append(
            Problem(
                "offer_price",
                "not a price",
                "must be a number with its currency, such as 15.00 USD "
                f"(found {text[:_MAX_SHOWN]!a})",
            )
        )
        return None, None
    price = Decimal(amount)
    try:
        if currency:
            clean_currency(currency)
        check_price(price, currency)
    except (ValueError, InvalidField) as error:
        problems.append(Problem("offer_price", "not a price", str(error)))
        return None, None
    return price, currency


def _certificate(
    line: int, given: Mapping[str, str], problems: list[Problem], overwrite_blank: bool
) -> CertificateRow | None:
    """The staging row of a certificate; None if it is not valid."""
    before = len(problems)
    texts = {
        field: _text(field, text, _CERTIFICATE_LENGTHS[field], problems)
        for field, text in given.items()
    }
    if not texts.get("certification"):
        problems.append(Problem("certification", "missing", "is missing"))
    dates = {field: _date(field, texts.get(field, ""), problems) for field in _DATES}
    begins, ends = dates["valid_from"], dates["expiry_date"]
    if begins and ends and ends < begins:
        problems.append(
            Problem("expiry_date", "before valid_from", f"{ends} is before valid_from, {begins}")
        )
    if len(problems) > before:
        return None

    def changed(field: str) -> str | None:
        value = texts.get(field)
        return value if value or overwrite_blank else None

    return CertificateRow(
        line=line,
        certification=texts["certification"],
        label=texts.get("label") or None,
        certificate_number=texts.get("certificate_number", ""),
        issuing_body=changed("issuing_body"),
        valid_from=begins,
        expiry_date=ends,
        verification_status=texts.get("verification_status") or None,
        verification_url=changed("verification_url"),
        new_key=uuid7(),
    )


_DATES = ("valid_from", "expiry_date")


def _date(field: str, text: str, problems: list[Problem]) -> datetime.date | None:
    if not text:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        problems.append(
            Problem(field, "not a date", f"must be a date such as 2026-12-31 (found {text[:40]!a})")
        )
        return None


def _nutrients(
    given: list[tuple[str, str, str]] | None, problems: list[Problem]
) -> list[dict[str, str]] | None:
    if given is None:
        return None
    nutrients = []
    for name, unit, cell in given:
        if amount := cell.strip(WHITE_SPACE):
            try:
                nutrients.append(clean_nutrient(name, amount, unit))
            except InvalidText as error:
                problems.append(Problem(f"nutrient {name[:_MAX_SHOWN]!a}", "not valid", str(error)))
    if len(nutrients) > MAX_NUTRIENTS:
        problems.append(
            Problem(
                "nutrition",
                "too many nutrients",
                f"has {len(nutrients):,} nutrients; at most {MAX_NUTRIENTS} are allowed",
            )
        )
    return nutrients


def _metadata(given: dict[str, str] | None, problems: list[Problem]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, cell in (given or {}).items():
        key, value = nfc(name), nfc(cell.strip(WHITE_SPACE))
        try:
            metadata.check_key(key)
            metadata.check_value(value)
        except InvalidText as error:
            problems.append(Problem(f"metadata {key[:_MAX_SHOWN]!a}", "not valid", str(error)))
        values[key] = value
    try:
        metadata.check_size(sum(1 for value in values.values() if value))
    except InvalidText as error:
        problems.append(Problem("metadata", "too many keys", str(error)))
    return values


def _merge_object(value: Mapping[str, Any], *, overwrite_blank: bool) -> str | None:
    """The JSON object to merge into the product's; None if it would change nothing."""
    if overwrite_blank:
        changes = {key: part or None for key, part in value.items()}
    else:
        changes = {key: part for key, part in value.items() if part}
    return _encode(changes) if changes else None
