"""The form of a product, validated by the API serializer; nutrients and metadata are rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict
from rest_framework import serializers

from catalog.countries import country_names
from catalog.models import Product, ProductStatus
from catalog.serializers import NutrientSerializer, ProductSerializer
from closient.http.exceptions import field_errors
from dashboard.pages.forms import VersionedForm, form_field, suggesting, text_input

_PARTS = ("name", "amount", "unit")
_METADATA = "metadata__"
_NUTRITION = "nutrition__"
_NUTRIENTS = "nutrition__nutrients"
_EMPTY_COUNTRY = [("", "Unknown")]


@dataclasses.dataclass
class FormRow:
    """A nutrient or metadata row of the form: submitted texts and their errors."""

    texts: Mapping[str, str]
    errors: list[str] = dataclasses.field(default_factory=list)


class ProductForm(VersionedForm):
    """The form of a product."""

    serializer_class = ProductSerializer
    noun = "product"

    gtin = form_field(
        "GTIN",
        widget=text_input(inputmode="numeric", **{"class": "mono"}),
        help_text="The number below the barcode: 8, 12, 13 or 14 digits.",
    )
    name = form_field("Name")
    description = form_field("Description", widget=forms.Textarea({"rows": 5}))
    brand = form_field(
        "Brand", widget=suggesting("brand"), help_text="A new name creates a new brand."
    )
    category = form_field("Category", widget=suggesting("category"))
    country_of_origin = form_field("Country of origin", widget=forms.Select())
    net_content = form_field("Net content", help_text="For example, 500 g or 1 l.")
    manufacturer = form_field("Manufacturer")
    gpc_brick_code = form_field(
        "GPC brick code",
        widget=text_input(inputmode="numeric", maxlength=8, **{"class": "mono"}),
        help_text="Eight digits.",
    )
    status = form_field(
        "Status",
        widget=forms.Select(choices=ProductStatus.choices),
        initial=ProductStatus.ACTIVE.value,
    )
    nutrition__serving_size = form_field("Per", help_text="For example, 100 g.")

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        changes: Product | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, changes=changes, context=context)
        countries = self.fields["country_of_origin"].widget
        countries.choices = [*_EMPTY_COUNTRY, *country_names()]
        if changes is not None:
            del self.fields["gtin"]
        self.nutrients = _nutrients(data, changes)
        self.metadata = _metadata(data, changes)
        # Only keys that the form showed can be removed by it, not keys added in the meantime.
        self.shown_keys = list(changes.metadata) if changes else []
        if data is not None:
            self.shown_keys = data.getlist("metadata_shown")

    @property
    def nutrient_rows(self) -> Sequence[FormRow]:
        """The nutrients and an empty row."""
        return [*self.nutrients, FormRow(dict.fromkeys(_PARTS, ""))]

    @property
    def metadata_rows(self) -> Sequence[FormRow]:
        """The metadata and an empty row."""
        return [*self.metadata, FormRow({"key": "", "value": ""})]

    def body(self) -> dict[str, Any]:
        """Return the body for the serializer; adds errors to invalid rows."""
        body = super().body()
        # Browsers send line ends as CR LF (HTML, 4.10.22.4).
        body["description"] = body.get("description", "").replace("\r\n", "\n")
        for row in self.nutrients:
            try:
                NutrientSerializer(data=dict(row.texts)).is_valid(raise_exception=True)
            except serializers.ValidationError as error:
                row.errors = [
                    f"{found.pointer.removeprefix('#/').capitalize()}: {found.detail}"
                    for found in field_errors(error.detail)
                ]
        if any(row.errors for row in self.nutrients):
            self.add_error(None, "Correct the nutrients.")
        else:
            body.setdefault("nutrition", {})["nutrients"] = [row.texts for row in self.nutrients]
        # A change merges into the stored metadata; null removes a key.
        removed = {} if self.is_new else dict.fromkeys(self.shown_keys)
        body["metadata"] = removed | {row.texts["key"]: row.texts["value"] for row in self.metadata}
        keys = [row.texts["key"] for row in self.metadata]
        for row in self.metadata:
            if keys.count(row.texts["key"]) > 1:
                self.reject(_METADATA + row.texts["key"], "This key is used twice.")
        return body

    def parts_of(self, row: Product) -> dict[str, str]:
        """Return the parts of a row: its fields, all nutrients, and each metadata key."""
        shown = self.field_values(row)
        metadata = {name: _text(text) for name, text in shown.items() if name.startswith(_METADATA)}
        nutrients = _nutrients_text(shown.get(_NUTRIENTS) or [])
        return {**super().parts_of(row), _NUTRIENTS: nutrients, **metadata}

    def submitted_parts(self) -> dict[str, str]:
        """Return the submitted values of the same parts."""
        nutrients = _nutrients_text([row.texts for row in self.nutrients])
        metadata = {
            _METADATA + row.texts["key"]: _text(row.texts["value"]) for row in self.metadata
        }
        return {**super().submitted_parts(), _NUTRIENTS: nutrients, **metadata}

    def use_saved(self, name: str, row: Product) -> None:
        """Replace a field, the nutrients or a metadata key by the saved value."""
        if name == _NUTRIENTS:
            self.nutrients = _nutrients(None, row)
        elif name.startswith(_METADATA):
            key = name.removeprefix(_METADATA)
            self.metadata = [one for one in self.metadata if one.texts["key"] != key]
            if key in row.metadata:
                self.metadata.append(FormRow({"key": key, "value": row.metadata[key]}))
        else:
            super().use_saved(name, row)

    def label_of(self, name: str) -> str:
        """Return the label of a field, of the nutrients or of a metadata key."""
        if name == _NUTRIENTS:
            return "Nutrients"
        if name.startswith(_METADATA):
            return f"Metadata {name.removeprefix(_METADATA)}"
        return super().label_of(name)

    @property
    def error_count(self) -> int:
        """The number of fields and rows with errors."""
        rows = sum(bool(row.errors) for row in (*self.nutrients, *self.metadata))
        return super().error_count + rows

    def reject(self, name: str, sentence: str) -> None:
        """Add an error to a field or row, or to the form."""
        key = name.removeprefix(_METADATA)
        rows = [row for row in self.metadata if row.texts["key"] == key]
        if name.startswith(_METADATA) and rows:
            for row in rows:
                row.errors.append(sentence)
            self.add_error(None, f"{f'Metadata {key[:40]}'.strip()}: {sentence}")
        elif name.startswith((_METADATA, _NUTRITION, "metadata")) and name not in self.fields:
            part = "Metadata" if name.startswith("metadata") else "Nutrition"
            self.add_error(None, f"{part}: {sentence}")
        else:
            super().reject(name, sentence)


def _text(value: str) -> str:
    return value.replace("\r\n", "\n").strip()


def _nutrients_text(nutrients: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(" ".join(one.get(part, "") for part in _PARTS).strip() for one in nutrients)


def _nutrients(data: QueryDict | None, product: Product | None) -> list[FormRow]:
    if data is None:
        nutrients = product.nutrition.get("nutrients", []) if product else []
        return [FormRow(dict(nutrient)) for nutrient in nutrients]
    columns = [data.getlist(f"nutrient_{part}") for part in _PARTS]
    rows = [dict(zip(_PARTS, texts, strict=True)) for texts in zip(*columns, strict=False)]
    return [FormRow(row) for row in rows if any(text.strip() for text in row.values())]


def _metadata(data: QueryDict | None, product: Product | None) -> list[FormRow]:
    if data is None:
        stored = product.metadata if product else {}
        return [FormRow({"key": key, "value": value}) for key, value in stored.items()]
    pairs = zip(data.getlist("metadata_key"), data.getlist("metadata_value"), strict=False)
    return [FormRow({"key": k.strip(), "value": v}) for k, v in pairs if k.strip() or v.strip()]
