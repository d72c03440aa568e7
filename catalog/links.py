"""Addresses on the web that a row points to."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator

_validate = URLValidator(schemes=["http", "https"])
# What nearly every address looks like and the validator accepts, only faster.
_PLAIN = re.compile(
    r"https?://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}(/[\x21-\x7e]*)?\Z"
)


def is_web_address(text: str) -> bool:
    """Return whether a text is a complete http or https address, of a host with a public form."""
    if _PLAIN.match(text):
        return True
    try:
        _validate(text)
    except ValidationError:
        return False
    return True


def clean_url(text: str) -> str:
    """Return a web address as it is; raises ``ValueError`` with a sentence for a person."""
    if not is_web_address(text):
        raise ValueError(
            "This has to be a complete http or https address, as https://shop.example.com/item."
        )
    return text
