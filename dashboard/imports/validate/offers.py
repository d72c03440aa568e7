"""Validates the offers of a record."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from closient.db.ids import uuid7_text
from closient.text.normal import WHITE_SPACE
from dashboard.imports.repair.numbers import is_plain
from dashboard.imports.repair.prices import UnreadablePrice, amount_in, read_price
from dashboard.imports.validate.check import RecordCheck, choice, length_of
from dashboard.imports.validate.rows import OfferRow
from offers.currencies import clean_currency
from offers.models import Channel, Offer, OfferStatus

_LENGTHS = {
    **{field: length_of(Offer, field) for field in ("retailer", "store", "sku")},
    **dict.fromkeys(("channel", "status", "price", "currency"), 255),
}
_URL_LENGTH = length_of(Offer, "url")
_READERS = {"channel": choice(Channel.values), "status": choice(OfferStatus.values)}


def check_offer(check: RecordCheck, given: Mapping[str, str]) -> OfferRow | None:
    """The staging row of an offer; None if it is not valid."""
    before = len(check.problems)
    texts = {
        field: check.address("offer_url", cell, _URL_LENGTH)
        if field == "url"
        else check.text(f"offer_{field}", cell, _LENGTHS[field], read=_READERS.get(field))
        for field, cell in given.items()
    }
    channel = texts.get("channel") or Channel.ONLINE.value
    price, currency = _price(check, texts)
    cleared = check.cleared(given, ("price",))
    if cleared and "currency" in given:
        # Without a price, the cell of the currency counts for itself.
        currency = check.changed(_currency(check, texts["currency"]))
    if channel == Channel.ONLINE and not given.get("url", "").strip(WHITE_SPACE):
        check.reject(
            "offer_url", "missing", "is missing: an online offer needs the URL of its page"
        )
    if len(check.problems) > before:
        return None
    return OfferRow(
        line=check.line,
        channel=channel,
        retailer=texts.get("retailer", ""),
        store=texts.get("store", ""),
        sku=texts.get("sku", ""),
        url=check.changed(texts.get("url")),
        price=price,
        currency=currency,
        status=texts.get("status") or None,
        cleared=cleared,
        new_key=uuid7_text(),
    )


def _currency(check: RecordCheck, text: str) -> str:
    """The currency of an offer without a price."""
    try:
        return clean_currency(text.upper()) if text else ""
    except ValueError as error:
        check.reject("offer_currency", "not a currency", str(error))
        return ""


def _price(check: RecordCheck, texts: Mapping[str, str]) -> tuple[Decimal | None, str | None]:
    """The price and the currency of an offer; both None without a price."""
    text = texts.get("price", "")
    if not text:
        return None, None
    depends = not is_plain(amount_in(text))
    try:
        return read_price(
            text,
            texts.get("currency", ""),
            decimal_commas=depends and check.conventions.decimal_commas,
            repairs=check.repairs,
        )
    except UnreadablePrice as error:
        check.reject("offer_price", error.rule, str(error))
        return None, None
