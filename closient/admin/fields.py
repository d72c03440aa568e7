"""Form fields of the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Model
from django.forms.fields import InvalidJSONInput
from django.utils.html import format_html
from django.utils.safestring import SafeString


class _Text(forms.Widget):
    """Shows a text instead of an input."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def render(self, *args: Any, **kwargs: Any) -> SafeString:
        return format_html('<span class="readonly">{}</span>', self.text)


class FixedField(forms.Field):
    """A reference that cannot change: shown as text without a query, never read from the POST."""

    def __init__(self, row: Model, label: str) -> None:
        super().__init__(label=label, required=False, disabled=True, widget=_Text(str(row)))
        self.row = row

    def clean(self, value: Any) -> Model:
        """Return the row."""
        return self.row


class JSONField(forms.JSONField):
    """JSON that a user typed: whatever Python cannot parse is an error of the form."""

    def to_python(self, value: Any) -> Any:
        """Parse the value. Raises ``ValidationError``, also for extreme depths and numbers."""
        try:
            return super().to_python(value)
        except (RecursionError, ValueError) as error:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return what the form shows again: the text as typed if it is not JSON."""
        try:
            return super().bound_data(data, initial)
        except (RecursionError, ValueError):
            return InvalidJSONInput(data)
