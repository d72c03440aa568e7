"""How a file is read, as the forms of uploads and of sources ask it."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from rest_framework.serializers import BaseSerializer

from dashboard.imports.layouts import AUTO
from dashboard.imports.serializers import ReadingOptionsSerializer
from dashboard.imports.sources.editing import layout_choices
from dashboard.pages.forms import BodyForm, form_field, text_input

_TEXTS = ("retailer", "currency", "shop")


class ReadingOptionsForm(BodyForm):
    """The options that only some files need."""

    serializer_class: ClassVar[type[BaseSerializer[Any]]] = ReadingOptionsSerializer

    layout = form_field("Layout of the file", initial=AUTO)
    retailer = form_field(
        "Retailer", help_text="Who offers the products of the file, if it does not say so."
    )
    shop = form_field(
        "Address of the shop",
        widget=text_input(type="url", inputmode="url", placeholder="https://"),
        help_text="For shop exports without the addresses of product pages.",
    )
    currency = form_field(
        "Currency",
        widget=text_input(maxlength=3, size=3),
        help_text="Of prices without one, such as EUR.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["layout"].widget = forms.Select(choices=layout_choices())

    @property
    def has_options(self) -> bool:
        """Whether one of these fields has a value or an error."""
        names = ("layout", *_TEXTS)
        return (
            any(self[name].errors for name in names)
            or any(self[name].value() for name in _TEXTS)
            or self["layout"].value() not in (None, "", AUTO)
        )


class UploadForm(ReadingOptionsForm):
    """The options of an uploaded file."""

    overwrite_blank = forms.BooleanField(
        label="Empty cells clear the field",
        required=False,
        help_text="Off: an empty cell leaves the product as it is.",
    )

    @property
    def option_fields(self) -> list[forms.BoundField]:
        """The fields below "More options"."""
        return [self[name] for name in ("layout", *_TEXTS)]
