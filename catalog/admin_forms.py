"""Forms of the admin pages of the catalog."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from catalog.images.reencoding import DecoderBusy, InvalidImage, read_picture
from catalog.images.storage import discard_after_commit
from catalog.models import ProductImage
from closient.accounts.tenant_admin import TenantForm
from closient.admin.forms import EditFormSet


class ProductForm(TenantForm):
    """The form of a product; shorter GTINs are padded to 14 digits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "gtin" in self.fields:
            self.fields["gtin"].help_text = "8, 12, 13 or 14 digits."


class PictureField(forms.ImageField):
    """An uploaded picture; the value is the file to store."""

    def to_python(self, data: Any) -> Any:
        """Return the file with its new name. Raises ``ValidationError`` with the reason."""
        if data:
            try:
                data = read_picture(data, data.size).as_file()
            except InvalidImage as error:
                raise ValidationError(str(error), code=error.reason) from error
            except DecoderBusy as error:
                message = "Too many images are being uploaded: try again in a moment."
                raise ValidationError(message, code="busy") from error
        return super().to_python(data)


class ImageForm(TenantForm):
    """An image of a product: a file or a URL."""

    organization_from = "product"

    class Meta:
        field_classes = {"image": PictureField}

    def _get_validation_exclusions(self) -> set[str]:
        # The formset decides which image is primary.
        return super()._get_validation_exclusions() | {"is_primary"}


class ImageFormSet(EditFormSet):
    """A product's images; if there are any, exactly one is primary."""

    primary: ImageForm | None = None

    def clean(self) -> None:
        """Determine the primary image: the one just selected, otherwise the first."""
        super().clean()
        if any(self.errors):
            return
        kept = [
            form
            for form in self.forms
            if (not form.instance._state.adding or form.has_changed())
            and not form.cleaned_data.get("DELETE")
        ]
        ticked = [form for form in kept if form.cleaned_data.get("is_primary")]
        if len(ticked) > 1:
            ticked = [form for form in ticked if "is_primary" in form.changed_data]
            if len(ticked) != 1:
                raise ValidationError(
                    "A product has only one primary image: select one.", code="several_primary"
                )
        if not self.instance._state.adding:
            self._check_primary()
            if not ticked and self._primary_now().exclude(pk__in=self._keys()).exists():
                # Another user added it meanwhile, so it is not in the form.
                return
        self.primary = next(iter([*ticked, *kept]), None)

    def _check_primary(self) -> None:
        """Reject another primary image if a different one became primary meanwhile."""
        shown = [form for form in self.initial_forms if form["is_primary"].shown == "True"]
        is_chosen = any("is_primary" in form.changed_data for form in self.forms)
        keys = [form.instance.pk for form in shown]
        if shown and is_chosen and self._primary_now().exclude(pk__in=keys).exists():
            raise ValidationError(
                "Another image became the primary one while this form was open: reload the page.",
                code="changed_meanwhile",
            )

    def _primary_now(self) -> Any:
        return ProductImage.objects.of_product(self.instance).filter(is_primary=True)

    def _keys(self) -> list[Any]:
        return [form.instance.pk for form in self.initial_forms]

    def save(self, commit: bool = True) -> Any:
        """Save the images; the current primary one is demoted first, even a new one."""
        for form in self.initial_forms:
            if form in self.deleted_forms:
                continue
            if {"image", "external_url"} & set(form.changed_data):
                # A trigger forgets the thumbnail of a changed picture.
                discard_after_commit(form.instance.thumbnail)
            if "image" in form.changed_data:
                discard_after_commit(form.initial["image"])
        if self.primary is None or not self.has_changed():
            return super().save(commit)
        for form in self.forms:
            form.instance.is_primary = form is self.primary
        images = ProductImage.objects.of_product(self.instance)
        images.exclude(pk=self.primary.instance.pk).demote()
        saved = super().save(commit)
        images.filter(pk=self.primary.instance.pk, is_primary=False).update(is_primary=True)
        return saved

    def delete_existing(self, obj: ProductImage, commit: bool = True) -> None:
        """Delete an image, and its file after the commit."""
        super().delete_existing(obj, commit)
        discard_after_commit(obj.image, obj.thumbnail)
