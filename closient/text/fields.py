"""Model fields that normalize text to NFC.

In migrations they appear as the Django fields they extend, since the columns are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from closient.text.normal import nfc_all

if TYPE_CHECKING:
    _CharField = models.CharField[Any, str]
    _TextField = models.TextField[Any, str]
    _JSONField = models.JSONField[Any, Any]
    _Field = models.Field[Any, Any]
else:
    _CharField, _TextField, _JSONField = models.CharField, models.TextField, models.JSONField
    _Field = object


class _Normal(_Field):
    """Normalizes values before validation, storage and lookups."""

    def deconstruct(self) -> Any:
        """Return the Django field that this one extends."""
        name, _, args, kwargs = super().deconstruct()
        django_field = type(self).__mro__[2]
        return name, f"django.db.models.{django_field.__name__}", args, kwargs

    def to_python(self, value: Any) -> Any:
        """Return a form value, normalized."""
        return nfc_all(super().to_python(value))

    def get_prep_value(self, value: Any) -> Any:
        """Return the normalized value for storing and for lookups."""
        return nfc_all(super().get_prep_value(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Set the normalized value on the instance and return it."""
        value = nfc_all(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value


class NormalCharField(_Normal, _CharField):
    """A short text in NFC."""


class NormalTextField(_Normal, _TextField):
    """A long text in NFC."""


class NormalJSONField(_Normal, _JSONField):
    """JSON whose texts and keys are in NFC."""
