"""Reads prices with their currency, as shops and spreadsheets write them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from closient.text.validators import InvalidField
from dashboard.imports.repair.numbers import UnclearNumber, read_number
from offers.currencies import check_price, clean_currency

_PARTS = re.compile(
    r"(?P<before>[^0-9.,+-]*)(?P<amount>[0-9.,](?:[0-9.,' \u00a0\u2009\u2019\u202f]*[0-9])?)"
    r"(?P<after>[^0-9+-]*)\Z"
)
_AMOUNT = re.compile(r"[0-9]{1,10}(\.[0-9]{1,})?\Z")
_MAX_SHOWN = 40
# Signs of a single currency, and what distinguishes the dollars.
_SIGNS = {
    "\u20ac": "EUR",
    "\u00a3": "GBP",
    "US$": "USD",
    "CA$": "CAD",
    "C$": "CAD",
    "A$": "AUD",
    "AU$": "AUD",
    "NZ$": "NZD",
    "HK$": "HKD",
    "R$": "BRL",
    "\u20b9": "INR",
    "\u20a9": "KRW",
    "\u20ba": "TRY",
    "\u20bd": "RUB",
    "\u20aa": "ILS",
    "\u20b4": "UAH",
    "\u20ab": "VND",
    "\u0e3f": "THB",
    "\u20b1": "PHP",
    "\u20a6": "NGN",
    "z\u0142": "PLN",
    "K\u010d": "CZK",
    "Ft": "HUF",
}
# Signs of several currencies: only a currency column says which one.
_SHARED_SIGNS = frozenset(("$", "\u00a5", "\uffe5", "kr", "kr.", "Fr.", "Rs", "Rs."))


class UnreadablePrice(ValueError):
    """A cell is no price; ``rule`` is the broken rule in a few words."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


class Price(NamedTuple):
    """An amount in a currency (ISO 4217)."""

    amount: Decimal
    currency: str


def amount_in(text: str) -> str:
    """The part of a price that is its number; the text itself if it has none."""
    match = _PARTS.match(text)
    return match["amount"] if match else text


def read_price(text: str, currency: str, *, decimal_commas: bool, repairs: list[str]) -> Price:
    """Read a price, whose currency is in the same cell or in another column.

    Raises :class:`UnreadablePrice`.
    """
    match = _PARTS.match(text)
    if match is None:
        raise _not_a_price(text)
    number = match["amount"]
    try:
        plain = read_number(number, decimal_commas=decimal_commas, repairs=repairs)
    except UnclearNumber as error:
        raise UnreadablePrice(error.rule, f"{error} (found {text[:_MAX_SHOWN]!a})") from None
    if not _AMOUNT.match(plain):
        raise _not_a_price(text)
    code = _currency(match["before"].strip(), match["after"].strip(), currency, text)
    amount = Decimal(plain)
    try:
        if code:
            clean_currency(code)
        check_price(amount, code)
    except (ValueError, InvalidField) as error:
        raise UnreadablePrice("not a price", str(error)) from None
    return Price(amount, code)


def _currency(before: str, after: str, column: str, text: str) -> str:
    """The code of the currency before or after an amount, or in the column."""
    given = before or after
    column = column.upper()
    if before and after:
        raise _not_a_price(text)
    if not given:
        return _SIGNS.get(column, column)
    if given in _SHARED_SIGNS:
        if not column:
            raise UnreadablePrice(
                "unclear currency sign",
                f"{given} is the sign of several currencies: write the code, as 15.00 USD, or add "
                "a column currency",
            )
        return column
    code = _SIGNS.get(given) or given.upper()
    if column and column != code:
        raise UnreadablePrice(
            "two currencies", f"is in {code[:_MAX_SHOWN]}, but the column currency says {column}"
        )
    return code


def _not_a_price(text: str) -> UnreadablePrice:
    return UnreadablePrice(
        "not a price",
        f"must be a number with its currency, such as 15.00 USD (found {text[:_MAX_SHOWN]!a})",
    )
