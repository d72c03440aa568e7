"""Model fields that store texts in NFC, whichever way they come in.

In migrations they are the fields of Django that they extend: columns are the same.
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
    """Normalizes what is validated, stored and compared with what is stored."""

    def deconstruct(self) -> Any:
        """Return the field of Django that this one extends."""
        name, _, args, kwargs = super().deconstruct()
        django_field = type(self).__mro__[2]
        return name, f"django.db.models.{django_field.__name__}", args, kwargs

    def to_python(self, value: Any) -> Any:
        """Return a value of a form in its normal form."""
        return nfc_all(super().to_python(value))

    def get_prep_value(self, value: Any) -> Any:
        """Return what is stored, or compared with what is stored."""
        return nfc_all(super().get_prep_value(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Give the instance the form that is stored."""
        value = nfc_all(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value


class NormalCharField(_Normal, _CharField):
    """A short text in NFC."""


class NormalTextField(_Normal, _TextField):
    """A long text in NFC."""


class NormalJSONField(_Normal, _JSONField):
    """JSON whose texts and keys are in NFC."""
