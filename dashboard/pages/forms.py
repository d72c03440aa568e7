"""Forms that the serializers of the API validate, so each rule exists once."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from django import forms
from django.db import IntegrityError
from django.http import HttpRequest, QueryDict
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import Truncator
from rest_framework import serializers

from closient.accounts.actors import current_actor
from closient.db.transactions import run_with_retry
from closient.http.conflicts import problem_of_integrity_error
from closient.http.forms import CountsErrors
from closient.http.problems import Problem
from closient.text.validators import InvalidField

T = TypeVar("T")

# Longer texts are truncated in conflicts.
_MAX_TEXT_LENGTH = 200


class _NotMerged(Exception):
    """The save was stopped; the form has the errors or conflicts."""


class BodyForm(CountsErrors, forms.Form):
    """A form that is validated by a serializer of the API.

    Its fields only define labels and widgets. :attr:`values` is the serializer's validated data,
    and the serializer's errors are shown at the fields. A field name with two underscores, like
    ``certification__code``, is a key of a nested object.
    """

    serializer_class: ClassVar[type[serializers.BaseSerializer[Any]]]
    # Sentences about other fields of the row that replace those of the API, by field.
    messages: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        changes: Any = None,
        initial: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Create the form of a new row or, with ``changes``, of that existing row.

        ``context`` is the context of the serializer.
        """
        self.is_new = changes is None
        self.context = dict(context or {})
        shown: Any = {}
        if changes is not None:
            shown = self.serializer_class(changes, context=self.context).data
        super().__init__(
            data,
            initial={**_flat(shown), **(initial or {})},
            label_suffix="",
            use_required_attribute=False,
        )
        self.values: dict[str, Any] = {}

    def body(self) -> dict[str, Any]:
        """Return the body for the serializer, with only the fields that were submitted."""
        body: dict[str, Any] = {}
        for name, value in self.cleaned_data.items():
            if value is not None:
                whole, _, part = name.partition("__")
                if part:
                    body.setdefault(whole, {})[part] = value
                else:
                    body[name] = value
        return body

    def clean(self) -> dict[str, Any]:
        """Validate the body with the serializer."""
        body = self.body()
        serializer: Any = self.serializer_class(data=body, partial=not self.is_new)
        for name, field in serializer.fields.items():
            if body.get(name) == "" and field.allow_null:
                body[name] = None
        if serializer.is_valid():
            self.values = serializer.validated_data
        for name, sentence in _sentences(serializer.errors):
            self.reject(name, sentence)
        return self.cleaned_data

    def reject(self, name: str, sentence: str) -> None:
        """Add an error to a field, or to the form if there is no such field."""
        self.add_error(name if name in self.fields else None, sentence)

    @property
    def is_rejected(self) -> bool:
        """Whether the submitted values were not saved."""
        return bool(self.errors)

    def save(self, write: Callable[[], T]) -> T | None:
        """Run ``write`` in a transaction and return its result.

        Returns ``None`` if the write rejects the values; the form then has the errors. Raises every
        other :class:`Problem`.
        """
        try:
            return run_with_retry(write)
        except IntegrityError as error:
            problem = problem_of_integrity_error(error)
            if problem is None:
                raise
        except _NotMerged:
            return None
        except InvalidField as error:
            self.reject(error.field, self.messages.get(error.field) or str(error))
            return None
        except Problem as error:
            problem = error
        if problem.kind.error_code not in ("validation_error", "conflict"):
            raise problem
        for wrong in problem.errors:
            self.reject(wrong.pointer.removeprefix("#/").replace("/", "__"), wrong.detail)
        if not problem.errors:
            self.reject("", problem.detail)
        return None


@dataclasses.dataclass(frozen=True)
class Conflict:
    """A part of a row that both this form and another user changed.

    ``name`` is the name of the field or of the part of a list; ``seen`` is the digest of
    ``theirs``.
    """

    name: str
    label: str
    mine: str
    theirs: str
    seen: str


@dataclasses.dataclass(frozen=True)
class OtherChange:
    """The latest change of a row after the form was opened."""

    at: datetime.datetime | None
    by: str
    is_own: bool


class VersionedForm(BodyForm):
    """A form that merges changes other users saved after it was opened.

    A hidden field holds a digest of each part of the row as it was shown. On save, parts that only
    others changed keep the others' values. Parts that both changed are :attr:`conflicts`: the form
    is rejected until the user chooses a value for each of them.
    """

    # The name of the row in messages.
    noun: ClassVar[str]
    version = forms.CharField(widget=forms.HiddenInput(), required=False)

    def __init__(self, data: QueryDict | None = None, *, changes: Any = None, **more: Any) -> None:
        super().__init__(data, changes=changes, **more)
        if changes is not None:
            self.initial["version"] = self.version_token_of(changes)
        self.conflicts: list[Conflict] = []
        self.merged: list[str] = []
        self.other: OtherChange | None = None

    def body(self) -> dict[str, Any]:
        """Return the body without the version field."""
        body = super().body()
        body.pop("version", None)
        return body

    @staticmethod
    def version_of(row: Any) -> str:
        """Return a text that changes with every change of the row."""
        return str(row.updated_at.astimezone(datetime.UTC).isoformat())

    def version_token_of(self, row: Any) -> str:
        """Return the value of the hidden version field for a row."""
        return version_token(self.version_of(row), self.parts_of(row))

    def field_values(self, row: Any) -> dict[str, Any]:
        """Return the values of a row by field name."""
        return _flat(self.serializer_class(row, context=self.context).data)

    def parts_of(self, row: Any) -> dict[str, str]:
        """Return the values of a row as text, by the name of each part."""
        shown = self.field_values(row)
        return {
            field.name: _normal(shown.get(field.name))
            for field in self.visible_fields()
            if field.name in shown
        }

    def submitted_parts(self) -> dict[str, str]:
        """Return the submitted values as text, by the name of each part."""
        return {
            field.name: _normal(field.value())
            for field in self.visible_fields()
            if field.html_name in self.data
        }

    def use_saved(self, name: str, row: Any) -> None:
        """Replace the form's value of a part by the saved one."""
        self.data[name] = self.parts_of(row).get(name, "")  # type: ignore[index]

    def label_of(self, name: str) -> str:
        """Return the label of a part."""
        return str(self.fields[name].label) if name in self.fields else name

    def text_of(self, name: str, text: str) -> str:
        """Return the value of a part as a user reads it, truncated."""
        choices = getattr(self.fields[name].widget, "choices", ()) if name in self.fields else ()
        return Truncator(str(dict(choices).get(text, text))).chars(_MAX_TEXT_LENGTH)

    def other_change(self, row: Any) -> OtherChange | None:
        """Return when and by whom the row was last changed."""
        by = row.updated_by
        return OtherChange(row.updated_at, by, is_own=bool(by) and by == current_actor())

    def check_version(self, row: Any) -> None:
        """Merge the form with changes saved after it was opened.

        ``row`` is the current, locked row. Stops :meth:`save` if both changed the same part and
        the user has not chosen a value yet.
        """
        shown_version, shown = _read_token(self.cleaned_data["version"])
        if shown_version == self.version_of(row):
            return
        mine, theirs = self.submitted_parts(), self.parts_of(row)
        self.data = data = self.data.copy()  # type: ignore[attr-defined]
        taken: list[str] = []
        self.conflicts, self.merged = [], []
        self.other = self.other_change(row)
        for name in [*mine, *(name for name in theirs if name not in mine)]:
            ours, other = mine.get(name, ""), theirs.get(name, "")
            if ours == other or (name not in mine and name in self.fields):
                continue
            was = None if shown is None else shown.get(name, _digest(""))
            if was == _digest(other):
                continue
            keep = data.get(f"keep__{name}") if data.get(f"seen__{name}") == _digest(other) else ""
            if was == _digest(ours) or keep == "theirs":
                taken.append(name)
            elif keep != "mine":
                self.conflicts.append(
                    Conflict(
                        name,
                        self.label_of(name),
                        self.text_of(name, ours),
                        self.text_of(name, other),
                        _digest(other),
                    )
                )
        if self.conflicts:
            raise _NotMerged
        if taken:
            for name in taken:
                self.use_saved(name, row)
            self.merged = [self.label_of(name) for name in taken]
            self.full_clean()
            if self.errors:
                raise _NotMerged

    @property
    def is_rejected(self) -> bool:
        """Whether the submitted values were not saved."""
        return bool(self.conflicts) or super().is_rejected

    @property
    def submitted_choices(self) -> list[tuple[str, str]]:
        """The choices made for earlier conflicts, to be submitted again."""
        return [
            (name, text)
            for name, text in self.data.items()
            if name.startswith(("keep__", "seen__")) and not self.conflicts
        ]

    def saved_message(self) -> str:
        """Return the message of a successful save, with the changes of others that it kept."""
        saved = f"{self.noun.capitalize()} saved."
        if not self.merged or self.other is None:
            return saved
        by = f" by {self.other.by}" if self.other.by and not self.other.is_own else ""
        return f"{saved} Changes made{by} in the meantime were kept: {', '.join(self.merged)}."


def version_token(version: str, parts: Mapping[str, str]) -> str:
    """Return the version of a row and a digest of each of its parts, for a hidden field."""
    digests = {name: _digest(text) for name, text in parts.items() if text}
    return json.dumps([version, digests], separators=(",", ":"))


def text_input(**attributes: Any) -> forms.TextInput:
    """Return a one-line input without browser autocomplete."""
    return forms.TextInput({"autocomplete": "off", **attributes})


def suggesting(kind: str, **attributes: Any) -> forms.TextInput:
    """Return a one-line input that suggests values of a kind (:mod:`dashboard.suggestions`)."""
    return text_input(**{"data-suggest": kind, **attributes})


def form_field(
    label: str, *, widget: forms.Widget | None = None, help_text: str = "", initial: Any = None
) -> forms.Field:
    """Return a field that accepts any value: the serializer validates it."""
    return forms.Field(
        label=label,
        widget=widget or text_input(),
        help_text=help_text,
        initial=initial,
        required=False,
    )


def post_data(request: HttpRequest) -> QueryDict | None:
    """Return the submitted form data; ``None`` unless the request is a POST."""
    return request.POST if request.method == "POST" else None


def return_url(request: HttpRequest, default: str) -> str:
    """Return the ``back`` URL of the request: the page to return to after a form.

    Only URLs of the dashboard are accepted; otherwise returns ``default``.
    """
    address = request.POST.get("back") or request.GET.get("back") or ""
    is_ours = (
        address.isprintable()
        and address.startswith("/dashboard/")
        and url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    )
    return address if is_ours else default


def _normal(value: Any) -> str:
    """Return a value as stripped text; browsers send line ends as CR LF (HTML, 4.10.22.4)."""
    return "" if value is None else str(value).replace("\r\n", "\n").strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_token(text: str | None) -> tuple[str, dict[str, str] | None]:
    """Return the version and the digests of a hidden field; ``None`` if the latter are unknown."""
    try:
        version, digests = json.loads(text or "")
    except (ValueError, TypeError):
        return text or "", None
    return str(version), digests if isinstance(digests, dict) else None


def _flat(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return a serialized row with nested objects flattened to ``object__key`` names."""
    flat: dict[str, Any] = {}
    for name, value in shown.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}__{part}": text for part, text in value.items()}
        else:
            flat[name] = value
    return flat


def _sentences(errors: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the field name and the text of each serializer error."""
    for name, found in errors.items():
        if isinstance(found, Mapping):
            yield from _sentences(found, f"{path}{name}__")
        else:
            for sentence in found:
                yield f"{path}{name}", str(sentence)
