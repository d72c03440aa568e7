"""Currency codes, and the decimals of prices (ISO 4217)."""

from __future__ import annotations

import re
from decimal import Decimal

import pycountry

from closient.text.validators import InvalidField

CODES = frozenset(str(currency.alpha_3) for currency in pycountry.currencies)
# Decimals by the list of ISO 4217; every other currency has two.
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
# Also those for which the list says "not applicable": metals, funds and baskets.
_FOUR = "CLF UYW XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX"
_PLACES = {
    **dict.fromkeys(_NONE.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    **dict.fromkeys(_FOUR.split(), 4),
}
DEFAULT_PLACES = 2
MAX_PLACES = 4
_CODE = re.compile(r"[A-Z]{3}\Z")


def clean_currency(text: str) -> str:
    """Return a valid currency code unchanged; raises ``ValueError`` with a sentence for people."""
    if not _CODE.match(text):
        raise ValueError("A currency is three capital letters (ISO 4217).")
    if text not in CODES:
        raise ValueError(f"{text} is not an ISO 4217 currency code.")
    return text


def places_of(currency: str) -> int:
    """Return how many decimals prices in a currency have."""
    return _PLACES.get(currency, DEFAULT_PLACES)


def check_price(price: Decimal | None, currency: str) -> None:
    """Raise ``InvalidField`` if a price has no currency or more decimals than its currency."""
    if price is None:
        return
    if not currency:
        raise InvalidField("A price needs a currency.", field="currency", code="required")
    places = places_of(currency)
    if _digits_after_point(price) > places:
        digits = {0: "no digits", 1: "one digit"}.get(places, f"at most {places} digits")
        raise InvalidField(
            f"A price in {currency} has {digits} after the point.",
            field="price",
            code="decimals",
        )


def shown_price(price: Decimal | None, currency: str) -> str | None:
    """Format a price with the decimals of its currency, or with more if it has more."""
    if price is None:
        return None
    return f"{price:.{max(places_of(currency), _digits_after_point(price))}f}"


def _digits_after_point(price: Decimal) -> int:
    exponent = price.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
