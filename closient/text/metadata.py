"""Metadata of a row: a few short texts by key, for what the model has no column for."""

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
    """Raise :class:`InvalidText` where there are more keys than a row may have."""
    if keys > MAX_KEYS:
        raise InvalidText(f"has {keys:,} keys; at most {MAX_KEYS} are allowed")


def clean_metadata(value: object) -> dict[str, str]:
    """Return metadata given as a whole.

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
    """Return metadata with a change applied: a text is put in, ``None`` takes its key away.

    Raises :class:`InvalidText` where there are too many keys afterwards.
    """
    merged = {key: text for key, text in {**stored, **change}.items() if text is not None}
    check_size(len(merged))
    return merged
