"""Metadata of a row: short strings by key, for data without a column."""

from __future__ import annotations

from collections.abc import Mapping

from closient.text.normal import nfc_all
from closient.text.validators import InvalidText, check_text

MAX_KEYS = 50
KEY_LENGTH = 40
VALUE_LENGTH = 500


def check_key(key: str) -> None:
    """Raise :class:`InvalidText` unless the text can be a key."""
    if not key:
        raise InvalidText("is an empty key")
    check_text(key, KEY_LENGTH)


def check_value(value: str) -> None:
    """Raise :class:`InvalidText` unless the text can be a value."""
    check_text(value, VALUE_LENGTH, several_lines=True)


def check_size(keys: int) -> None:
    """Raise :class:`InvalidText` if there are more keys than a row may have."""
    if keys > MAX_KEYS:
        raise InvalidText(f"has {keys:,} keys; at most {MAX_KEYS} are allowed")


def clean_metadata(value: object) -> dict[str, str]:
    """Validate and normalize complete metadata, and return it.

    Raises :class:`InvalidText`; the message names the key.
    """
    value = nfc_all(value)
    if not isinstance(value, dict):
        raise InvalidText('must be an object of strings, such as {"season": "summer"}')
    check_size(len(value))
    for key, text in value.items():
        try:
            _check_entry(key, text)
        except InvalidText as error:
            raise InvalidText(f"key {key[:KEY_LENGTH]!a} {error}") from None
    return value


def _check_entry(key: str, value: object) -> None:
    check_key(key)
    if not isinstance(value, str):
        raise InvalidText("must be a string")
    check_value(value)


def merge_metadata(stored: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """Return metadata with a change applied: a string sets its key, ``None`` removes it.

    Raises :class:`InvalidText` if the result has too many keys.
    """
    merged = {key: text for key, text in {**stored, **change}.items() if text is not None}
    check_size(len(merged))
    return merged
