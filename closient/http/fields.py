"""Serializer fields shared by all applications."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from closient.db.ids import ID_LENGTH, ID_PATTERN, format_id
from closient.http.names import MAX_UNKNOWN, unknown_name


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
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: UUID) -> str:
        """Return the 22 characters of a key."""
        return format_id(value)


class WholeNumberField(serializers.IntegerField):
    """A whole number within bounds, given as a number: texts and booleans are refused."""

    def __init__(self, *, min_value: int, max_value: int, **kwargs: Any) -> None:
        bounds = f"Must be from {min_value} to {max_value}."
        kwargs["error_messages"] = {
            "invalid": "Must be an integer, without quotes.",
            "min_value": bounds,
            "max_value": bounds,
        }
        super().__init__(min_value=min_value, max_value=max_value, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        """Return the number; 15.0 is one as well (JSON Schema, section 6.1.1)."""
        is_number = isinstance(data, int | float) and not isinstance(data, bool)
        if not is_number or data != int(data):
            self.fail("invalid")
        return int(data)


class StrictFields:
    """Makes a serializer refuse members of a body that it has no field for.

    Fields that are read-only are ignored, and ``ignored_fields`` are too: a client may send back
    what it was shown.
    """

    ignored_fields: ClassVar[Collection[str]] = ()

    def to_internal_value(self: Any, data: Any) -> Any:
        """Return the values; each unknown name is a separate error."""
        errors: dict[str, Any] = {}
        values: Any = None
        try:
            values = super().to_internal_value(data)  # type: ignore[misc]
        except serializers.ValidationError as error:
            if not isinstance(data, Mapping):
                raise
            errors.update(error.detail)  # type: ignore[arg-type]
        writable = [name for name, field in self.fields.items() if not field.read_only]
        known = {*self.fields, *self.ignored_fields}
        unknown = (name for name in data if name not in known)
        for name in itertools.islice(unknown, MAX_UNKNOWN):
            sentence = unknown_name(name, writable, kind="field")
            errors[name] = [serializers.ErrorDetail(sentence, code="unknown_field")]
        if errors:
            raise serializers.ValidationError(errors)
        return values


def values_of(serializer: serializers.BaseSerializer[Any]) -> dict[str, Any]:
    """Return what a body says, as its serializer reads it; raises ``ValidationError``."""
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values
