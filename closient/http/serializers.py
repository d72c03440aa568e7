"""Base serializers: strict about unknown fields, and built from models."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

from django.db import models
from rest_framework import serializers

from closient.http.fields import (
    METADATA_HELP,
    DayField,
    IdField,
    MetadataField,
    TextField,
    UrlField,
)
from closient.http.unknown_names import MAX_UNKNOWN, unknown_name

Row = TypeVar("Row", bound=models.Model)


class StrictFields:
    """Makes a serializer reject unknown fields of a body.

    Read-only fields are ignored, and ``ignored_fields`` are too: a client may send back what it
    received.
    """

    ignored_fields: ClassVar[Collection[str]] = ()

    def to_internal_value(self: Any, data: Any) -> Any:
        """Read the values; each unknown name is a separate error."""
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
    """Validate a serializer's body and return its values; raises ``ValidationError``."""
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def about(help_text: str | None = None, example: Any = None, **kwargs: Any) -> dict[str, Any]:
    """The ``extra_kwargs`` of a field: its documentation, and other arguments.

    Without a help text the model's own is used.
    """
    if help_text is not None:
        kwargs["help_text"] = help_text
    if example is not None:
        kwargs["style"] = {"example": example}
    return kwargs


_EXAMPLE_TIME = "2026-11-24T09:30:00Z"
# Fields that several models have.
_COMMON = {
    "metadata": about(METADATA_HELP, {"season": "summer"}),
    "created_at": about("When it was created.", _EXAMPLE_TIME),
    "updated_at": about("When one of the fields that can be written last changed.", _EXAMPLE_TIME),
}


def _copied(field: Any) -> Any:
    """Copy a field that no serializer has bound yet.

    Fields of several values have children that refer to them, so these are built again. All others
    are copied as they are, which takes a fraction of the time.
    """
    has_children = isinstance(field, serializers.BaseSerializer) or any(
        hasattr(field, name) for name in ("child", "child_relation")
    )
    return copy.deepcopy(field) if has_children else copy.copy(field)


class RowSerializer(StrictFields, serializers.ModelSerializer[Row]):
    """A serializer built from a model: lengths, choices, defaults and help texts are the model's.

    With ``is_merged`` the values are merged into those of a row, if there is one.
    ``Meta.extra_kwargs`` adds what the model does not say (see :func:`about`). Rules across fields
    and uniqueness are left to the functions that write and to the database.
    """

    is_merged: ClassVar[bool] = False
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.UUIDField: IdField,
        models.CharField: TextField,
        models.TextField: TextField,
        models.URLField: UrlField,
        models.DateField: DayField,
        models.JSONField: MetadataField,
    }

    def get_fields(self) -> dict[str, Any]:
        """Build the fields once per class; every instance gets a copy."""
        if "_fields_of_class" not in type(self).__dict__:
            type(self)._fields_of_class = super().get_fields()  # type: ignore[attr-defined]
        built: dict[str, Any] = type(self)._fields_of_class  # type: ignore[attr-defined]
        return {name: _copied(field) for name, field in built.items()}

    def get_extra_kwargs(self) -> dict[str, Any]:
        """Return the arguments of fields by name, for each model's common fields too."""
        given: dict[str, Any] = super().get_extra_kwargs()
        for name, kwargs in _COMMON.items():
            given[name] = {**kwargs, **given.get(name, {})}
        return given

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        """Return the class and the arguments of a field.

        Without labels, which are for forms, and without the model's validators: the fields here
        are as strict, with the messages of the API.
        """
        field_class, kwargs = super().build_standard_field(field_name, model_field)
        for name in ("label", "validators", "style", "encoder", "decoder"):
            kwargs.pop(name, None)
        if "choices" in kwargs:
            kwargs["choices"] = [value for value, _ in kwargs["choices"]]
        if kwargs.get("read_only") and issubclass(field_class, TextField):
            field_class = serializers.CharField
        return field_class, kwargs

    def get_validators(self) -> list[Any]:
        """No validators of the whole row."""
        return []
