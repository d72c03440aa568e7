"""Serializer fields shared by all applications, as strict as the columns they are stored in."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from uuid import UUID

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from closient.db.ids import ID_LENGTH, ID_PATTERN, format_id
from closient.http import parameters
from closient.text.metadata import (
    KEY_LENGTH,
    MAX_KEYS,
    VALUE_LENGTH,
    check_key,
    check_size,
    check_value,
    merge_metadata,
)
from closient.text.normal import WHITE_SPACE, nfc, nfc_all
from closient.text.urls import clean_url
from closient.text.validators import InvalidField, InvalidText, check_text

METADATA_HELP = (
    f"Strings by key: at most {MAX_KEYS} keys of {KEY_LENGTH} characters, strings of "
    f"{VALUE_LENGTH}. A change is merged; null removes a key."
)


@extend_schema_field(
    {
        "type": "string",
        "minLength": ID_LENGTH,
        "maxLength": ID_LENGTH,
        "pattern": f"^{ID_PATTERN}$",
    }
)
class IdField(serializers.Field[UUID, Any, str, Any]):
    """The id of a row, shown as a shortuuid. Read-only: clients cannot choose ids."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("style", {"example": "KwSysDpxcBU9FNhGkn2dCf"})
        super().__init__(**{**kwargs, "read_only": True})

    def to_representation(self, value: UUID) -> str:
        """Format the id with 22 characters."""
        return format_id(value)


class WholeNumberField(serializers.IntegerField):
    """A whole number within bounds, given as a number: texts and booleans are rejected."""

    def __init__(self, *, min_value: int, max_value: int, **kwargs: Any) -> None:
        bounds = f"Must be from {min_value} to {max_value}."
        kwargs["error_messages"] = {
            "invalid": "Must be an integer, without quotes.",
            "min_value": bounds,
            "max_value": bounds,
        }
        super().__init__(min_value=min_value, max_value=max_value, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        """Read the number; 15.0 is one as well (JSON Schema, section 6.1.1)."""
        is_number = isinstance(data, int | float) and not isinstance(data, bool)
        if not is_number or data != int(data):
            self.fail("invalid")
        return int(data)


class TrueOrFalseField(serializers.BooleanField):
    """A boolean, given as one: strings and numbers are rejected."""

    default_error_messages = {"invalid": "Must be true or false, without quotes."}

    def to_internal_value(self, data: Any) -> bool:
        """Read the boolean."""
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class TextField(serializers.CharField):
    """A text that can be stored: a string, not too long, without control characters."""

    default_error_messages = {"invalid": "Must be a string."}

    def __init__(self, *, max_length: int, several_lines: bool = False, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, **kwargs)
        self.several_lines = several_lines

    def to_internal_value(self, data: Any) -> str:
        """Read the text in NFC, without surrounding white space."""
        if not isinstance(data, str):
            self.fail("invalid")
        text = nfc(data.strip(WHITE_SPACE) if self.trim_whitespace else data)
        if not text and not self.allow_blank:
            self.fail("blank")
        try:
            check_text(text, self.max_length or 0, several_lines=self.several_lines)
        except InvalidText as error:
            raise serializers.ValidationError(error.sentence, code="text") from None
        return text


class CleanedField(TextField):
    """A text with a stored form, which a cleaner returns.

    The cleaner raises ``ValueError`` with a sentence for texts that have none. An empty text stays
    empty, if the field accepts it.
    """

    def __init__(self, *, cleaner: Callable[[str], str], code: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cleaner = cleaner
        self.code = code

    def to_internal_value(self, data: Any) -> str:
        """Read the text and return its stored form."""
        text = super().to_internal_value(data)
        try:
            return self.cleaner(text) if text else text
        except ValueError as sentence:
            raise serializers.ValidationError(str(sentence), code=self.code) from None


class UrlField(CleanedField):
    """A URL with the scheme http or https."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(cleaner=clean_url, code="url", **kwargs)


class DayField(serializers.DateField):
    """A date, given only as YYYY-MM-DD."""

    def to_internal_value(self, value: Any) -> datetime.date:
        """Read the date."""
        try:
            return parameters.read_date(value if isinstance(value, str) else "")
        except parameters.InvalidParameter as error:
            raise serializers.ValidationError(str(error), code=error.code) from None


class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """Strings by key. A change may contain nulls: see :func:`merged_metadata`.

    Changes are partial updates, and the rows of serializers with ``is_merged``.
    """

    default_error_messages = {
        "invalid": 'Must be an object of strings, such as {{"season": "summer"}}.',
    }

    @property
    def is_change(self) -> bool:
        """Whether the value is merged into the stored one."""
        return bool(self.root.partial or getattr(self.parent, "is_merged", False))

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        """Accept null for no metadata in a change (RFC 7396)."""
        if data is None and self.is_change:
            return True, None
        return super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> dict[str, str | None]:
        """Read the object, with its texts in NFC; each error points to its key."""
        data = nfc_all(data)
        if not isinstance(data, dict):
            self.fail("invalid")
        errors = {}
        for key, value in data.items():
            try:
                self._check(key, value)
            except InvalidText as error:
                errors[key] = [serializers.ErrorDetail(error.sentence, code="metadata")]
        if errors:
            raise serializers.ValidationError(errors)
        if not self.is_change:
            try:
                check_size(len(data))
            except InvalidText as error:
                raise serializers.ValidationError(error.sentence, code="metadata") from None
        return data

    def _check(self, key: str, value: Any) -> None:
        check_key(key)
        if value is None and self.is_change:
            return
        if not isinstance(value, str):
            raise InvalidText("must be a string")
        check_value(value)

    def to_representation(self, value: Any) -> Any:
        """Return the object as it is stored."""
        return value


class _MetadataFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Documents the field: strings, and in a change nulls, which remove a key."""

    target_class = MetadataField

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> Any:
        is_change = direction == "request" and self.target.is_change
        text = {"type": ["string", "null"] if is_change else "string", "maxLength": VALUE_LENGTH}
        kind = ["object", "null"] if is_change else "object"
        return {"type": kind, "additionalProperties": text, "maxProperties": MAX_KEYS}


def merged_metadata(stored: dict[str, str], change: dict[str, str | None] | None) -> dict[str, str]:
    """Apply a change to stored metadata: strings are set, nulls remove their key.

    ``None`` removes all keys. Raises :class:`InvalidField` if the result has too many keys.
    """
    if change is None:
        return {}
    try:
        return merge_metadata(stored, change)
    except InvalidText as error:
        sentence = f"With this change it {error}."
        raise InvalidField(sentence, field="metadata", code="metadata") from None
