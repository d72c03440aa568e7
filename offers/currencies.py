"""Currencies by their code (ISO 4217)."""

from __future__ import annotations

import re

import pycountry

CODES = frozenset(str(currency.alpha_3) for currency in pycountry.currencies)
_CODE = re.compile(r"[A-Z]{3}\Z")


def clean_currency(text: str) -> str:
    """Return a currency's code as it is; raises ``ValueError`` with a sentence for a person."""
    if not _CODE.match(text):
        raise ValueError("A currency is three capital letters (ISO 4217).")
    if text not in CODES:
        raise ValueError(f"{text} is no currency of ISO 4217.")
    return text
