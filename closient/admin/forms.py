"""Forms of the admin: they save only the fields that the user changed.

While a form is open, the API, the pages and the workers can change the same row. So each form also
sends the values that it was shown with (Django's hidden initial values). Fields that the user did
not change keep the row's current value. A field that both changed is an error that shows the other
value; if the form is sent again, the user's value replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import ImageField, Model
from django.forms.boundfield import BoundField
from django.utils.text import Truncator

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
    InlineFormSet = forms.BaseInlineFormSet[Any, Any, Any]
else:
    ModelForm = forms.ModelForm
    InlineFormSet = forms.BaseInlineFormSet

CHANGED_MEANWHILE = (
    "Changed to {} while this form was open. Save again to replace that, or reload the page to "
    "keep it."
)
# Characters of the other value in the error.
MAX_SHOWN = 200


class EditField(BoundField):
    """A field with two values: the one the form was shown with, and the row's current one."""

    form: EditForm
    field: Any

    @property
    def shown(self) -> Any:
        """The value that the form was shown with, as it was sent; ``None`` if it was not."""
        if not self.field.show_hidden_initial:
            return None
        widget = self.field.hidden_widget()
        if widget.value_omitted_from_data(self.form.data, self.form.files, self.html_initial_name):
            # Browsers send nothing for an empty list.
            is_list = isinstance(widget, forms.MultipleHiddenInput)
            return [] if is_list and self.form.has_initial_values else None
        value = self.form._widget_data_value(widget, self.html_initial_name)  # type: ignore[attr-defined]
        return _one_newline(value)

    @property
    def has_changed_meanwhile(self) -> bool:
        """Whether the row's value differs from the one the form was shown with."""
        shown = self.shown
        if shown is None:
            return False
        return bool(self.field.has_changed(_one_newline(self.initial), shown))

    @property
    def differs_from_row(self) -> bool:
        """Whether the submitted value differs from the row's current one."""
        return bool(self.field.has_changed(_one_newline(self.initial), _one_newline(self.data)))

    def _has_changed(self) -> bool:
        """Return whether the user changed the field, even if the row has the same value by now."""
        shown = self.shown
        if shown is None:
            widget: Any = self.field.widget
            is_sent = not widget.value_omitted_from_data(
                self.form.data, self.form.files, self.html_name
            )
            return is_sent and self.differs_from_row
        try:
            before = self.field.to_python(shown)
        except forms.ValidationError:
            # The shown value is no longer valid, such as a reference to a deleted row.
            before = shown
        return bool(self.field.has_changed(before, _one_newline(self.data)))

    def as_widget(self, widget: Any = None, attrs: Any = None, only_initial: bool = False) -> Any:
        """Return the field's HTML; after a conflict, the hidden value is the row's current one."""
        if only_initial and self.name in self.form.conflicts:
            name, value = self.html_initial_name, self.field.prepare_value(self.initial)
            return (widget or self.field.hidden_widget()).render(name, value, attrs or {})
        return super().as_widget(widget, attrs, only_initial)


def _one_newline(value: Any) -> Any:
    """Return the value with LF line breaks; browsers send CR LF."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


class EditForm(ModelForm):
    """A form that saves the fields that the user changed."""

    bound_field_class = EditField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conflicts: set[str] = set()
        if self.instance._state.adding:
            return
        for field in self.fields.values():
            # Files are not sent back.
            field.show_hidden_initial = not field.disabled and not isinstance(
                field, forms.FileField
            )

    @property
    def has_initial_values(self) -> bool:
        """Whether hidden initial values came with the form."""
        prefix = self.add_initial_prefix("")
        return any(name.startswith(prefix) for name in self.data)

    def _clean_fields(self) -> None:
        """Clean changed fields; the others get the row's current value."""
        super()._clean_fields()  # type: ignore[misc]
        if self.instance._state.adding:
            return
        for name in self._own_fields():
            field: Any = self[name]
            if name not in self.changed_data:
                if field.shown is not None:
                    self._errors.pop(name, None)  # type: ignore[attr-defined]
                if name not in self.errors:
                    self.cleaned_data[name] = self._stored(name)
            elif field.has_changed_meanwhile and field.differs_from_row:
                self.conflicts.add(name)
                self.add_error(name, CHANGED_MEANWHILE.format(self._stored_text(name)))

    def _own_fields(self) -> Iterator[str]:
        """Yield the names of the fields that show a column or relation of the row."""
        options = self.instance._meta
        names = {field.name for field in options.concrete_fields if not field.primary_key}
        names |= {field.name for field in options.many_to_many}
        for name, field in self.fields.items():
            if name in names and not field.disabled:
                yield name

    def _stored(self, name: str) -> Any:
        value = getattr(self.instance, name)
        return value if not hasattr(value, "all") else list(value.all())

    def _stored_text(self, name: str) -> str:
        """Return the row's value as text, for an error."""
        field, value = self.fields[name], self._stored(name)
        if isinstance(field, forms.ModelMultipleChoiceField):
            value = ", ".join(map(str, value))
        elif isinstance(field, forms.TypedChoiceField):
            value = dict(field.choices).get(value, value)  # type: ignore[arg-type]
        elif not isinstance(value, Model):
            value = field.prepare_value(value)
        text = "" if value is None else str(value)
        return f"“{Truncator(text).chars(MAX_SHOWN)}”" if text else "nothing"

    @property
    def changed_columns(self) -> list[str]:
        """The columns that the user changed."""
        columns = {field.name for field in self.instance._meta.concrete_fields}
        return [name for name in self.changed_data if name in columns]

    def save(self, commit: bool = True) -> Any:
        """Save a new row, or the changed fields of an existing one."""
        if not commit or self.instance._state.adding or self.errors:
            return super().save(commit)
        save_changed(self.instance, self.changed_columns)
        self._save_m2m()  # type: ignore[attr-defined]
        return self.instance


class EditFormSet(InlineFormSet):
    """Inline rows; other users may have deleted some before the page is saved."""

    def clean(self) -> None:
        """Reject changes of rows that were deleted meanwhile."""
        super().clean()
        for form in self.initial_forms:
            if form.instance._state.adding and not self._should_delete_form(form):  # type: ignore[attr-defined]
                name = self.model._meta.verbose_name
                raise forms.ValidationError(
                    f"A {name} was deleted while this form was open: reload the page.",
                    code="deleted_meanwhile",
                )


def save_changed(row: Model, columns: Iterable[str]) -> None:
    """Save some columns of a row, and those that follow from them: times, the size of an image."""
    saved = set(columns)
    if not saved:
        return
    for field in row._meta.concrete_fields:
        if getattr(field, "auto_now", False):
            saved.add(field.name)
        elif isinstance(field, ImageField) and field.name in saved:
            image: Any = field
            saved |= {name for name in (image.width_field, image.height_field) if name}
    row.save(update_fields=saved)
