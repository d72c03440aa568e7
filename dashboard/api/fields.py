"""Fields that bodies of several resources have in common, read as strictly as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.completeness import WHITE_SPACE
from catalog.gtin import InvalidGtin, normalize_gtin
from closient.http.problems import FieldError, Problem
from closient.text.metadata import (
    KEY_LENGTH,
    MAX_KEYS,
    VALUE_LENGTH,
    check_key,
    check_size,
    check_value,
    merge_metadata,
)
from closient.text.normal import nfc, nfc_all
from closient.text.validators import InvalidText, check_text

METADATA_HELP = (
    f"Strings by key: at most {MAX_KEYS} keys of {KEY_LENGTH} characters, strings of "
    f"{VALUE_LENGTH}. A change is merged; null removes a key."
)


class TextField(serializers.CharField):
    """A text that can be stored: given as a text, not too long, without control characters."""

    default_error_messages = {"invalid": "Must be a string."}

    def __init__(self, *, max_length: int, several_lines: bool = False, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, **kwargs)
        self.several_lines = several_lines

    def to_internal_value(self, data: Any) -> str:
        """Return the text in NFC, without the white space around it."""
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
    """A text that has a stored form: a cleaner gives it, or says in a sentence why there is none.

    The empty text stays empty, where the field takes it.
    """

    def __init__(self, *, cleaner: Callable[[str], str], code: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cleaner = cleaner
        self.code = code

    def to_internal_value(self, data: Any) -> str:
        """Return the stored form."""
        text = super().to_internal_value(data)
        try:
            return self.cleaner(text) if text else text
        except ValueError as sentence:
            raise serializers.ValidationError(str(sentence), code=self.code) from None


@extend_schema_field({"type": "string", "pattern": "^(?:[0-9]{8}|[0-9]{12,14})$", "maxLength": 14})
class GtinField(serializers.CharField):
    """A GTIN, taken in any of its lengths and shown as GTIN-14."""

    default_error_messages = {"invalid": "Must be a string."}

    def to_internal_value(self, data: Any) -> str:
        """Return the GTIN-14; the error names the rule that a text breaks."""
        if not isinstance(data, str):
            self.fail("invalid")
        try:
            return normalize_gtin(data)
        except InvalidGtin as error:
            raise serializers.ValidationError(str(error), code=error.code) from None


class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """Texts by key. A partial update may hold nulls: see :func:`merged_metadata`."""

    default_error_messages = {
        "invalid": 'Must be an object of strings, such as {{"season": "summer"}}.',
    }

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        """Let null stand for no metadata in a partial update (RFC 7396)."""
        if data is None and self.root.partial:
            return True, None
        return super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> dict[str, str | None]:
        """Return the map, its texts in NFC; each error points to its key."""
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
        if not self.root.partial:
            try:
                check_size(len(data))
            except InvalidText as error:
                raise serializers.ValidationError(error.sentence, code="metadata") from None
        return data

    def _check(self, key: str, value: Any) -> None:
        check_key(key)
        if value is None and self.root.partial:
            return
        if not isinstance(value, str):
            raise InvalidText("must be a string")
        check_value(value)

    def to_representation(self, value: Any) -> Any:
        """Return the map as it is stored."""
        return value


class _MetadataFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Documents the field: texts, and in a partial update nulls, which remove a key."""

    target_class = MetadataField

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> Any:
        is_change = direction == "request" and self.target.root.partial
        text = {"type": ["string", "null"] if is_change else "string", "maxLength": VALUE_LENGTH}
        kind = ["object", "null"] if is_change else "object"
        return {"type": kind, "additionalProperties": text, "maxProperties": MAX_KEYS}


def merged_metadata(stored: dict[str, str], change: dict[str, str | None] | None) -> dict[str, str]:
    """Return stored metadata with a change applied: texts are put in, nulls remove keys.

    ``None`` removes all keys.

    Raises a ``validation_error`` when there are too many keys afterwards.
    """
    if change is None:
        return {}
    try:
        return merge_metadata(stored, change)
    except InvalidText as error:
        refused = FieldError("#/metadata", "metadata", f"With this change it {error}.")
        raise Problem("validation_error", errors=[refused]) from None
