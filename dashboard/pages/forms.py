"""Forms whose values the API's own serializers read: what is valid is written down once, there."""

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
from closient.db.transactions import commit
from closient.http.conflicts import problem_of_refusal
from closient.http.problems import Problem

T = TypeVar("T")

# Longer texts are cut where a conflict shows them.
_LONGEST_SHOWN = 200


class _NotMerged(Exception):
    """The form itself says why it cannot be saved."""


class BodyForm(forms.Form):
    """A form that stands for a body of the API.

    Its fields only say how they look; :attr:`values` are the values as the serializer gives them,
    and the serializer's sentences stand at the fields. A name with two underscores, as
    ``certification__code``, stands for a part of an object.
    """

    serializer_class: ClassVar[type[serializers.BaseSerializer[Any]]]

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        changes: Any = None,
        initial: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the form of a new row, or with ``changes`` of that row, shown as it is.

        ``context`` is what the serializer needs to show it.
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
        """Return what the API would be sent: what the browser has sent, and nothing more."""
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
        """Let the serializer read the body."""
        body = self.body()
        serializer: Any = self.serializer_class(data=body, partial=not self.is_new)
        for name, field in serializer.fields.items():
            if body.get(name) == "" and field.allow_null:
                body[name] = None
        if serializer.is_valid():
            self.values = serializer.validated_data
        for name, sentence in _sentences(serializer.errors):
            self.refuse(name, sentence)
        return self.cleaned_data

    def refuse(self, name: str, sentence: str) -> None:
        """Show a sentence at the field of a name, or above them all where there is none."""
        self.add_error(name if name in self.fields else None, sentence)

    @property
    def is_refused(self) -> bool:
        """Whether what was sent was not saved."""
        return bool(self.errors)

    @property
    def wrong_count(self) -> int:
        """How many fields have errors."""
        return sum(name in self.fields for name in self.errors)

    def save(self, write: Callable[[], T]) -> T | None:
        """Run what writes the values in a transaction and return what it returns.

        ``None`` when the values were refused after all: the form then says why. Raises ``Busy``,
        and every other :class:`Problem`.
        """
        try:
            return commit(write)
        except IntegrityError as error:
            problem = problem_of_refusal(error)
            if problem is None:
                raise
        except _NotMerged:
            return None
        except Problem as error:
            problem = error
        if problem.kind.error_code not in ("validation_error", "conflict"):
            raise problem
        for wrong in problem.errors:
            self.refuse(wrong.pointer.removeprefix("#/").replace("/", "__"), wrong.detail)
        if not problem.errors:
            self.refuse("", problem.detail)
        return None


@dataclasses.dataclass(frozen=True)
class Conflict:
    """A part of a row that both this form and somebody else changed.

    ``name`` is the name of the field, or of a part of a list; ``seen`` identifies ``theirs``.
    """

    name: str
    label: str
    mine: str
    theirs: str
    seen: str


@dataclasses.dataclass(frozen=True)
class OtherChange:
    """The last change of a row since a form showed it."""

    at: datetime.datetime | None
    by: str
    is_own: bool


class VersionedForm(BodyForm):
    """A form that keeps what others saved since it was shown.

    A hidden field holds a digest of each part of the row as it was shown. On saving, parts that
    only others changed keep the values of the others. Parts that both changed are conflicts: the
    form is refused until the person chooses for each of them (:attr:`conflicts`).
    """

    # What is edited, in a sentence.
    noun: ClassVar[str]
    version = forms.CharField(widget=forms.HiddenInput(), required=False)

    def __init__(self, data: QueryDict | None = None, *, changes: Any = None, **more: Any) -> None:
        super().__init__(data, changes=changes, **more)
        if changes is not None:
            self.initial["version"] = self.token_of(changes)
        self.conflicts: list[Conflict] = []
        self.merged: list[str] = []
        self.other: OtherChange | None = None

    def body(self) -> dict[str, Any]:
        """Return the body, to which the version does not belong."""
        body = super().body()
        body.pop("version", None)
        return body

    @staticmethod
    def version_of(row: Any) -> str:
        """Return a text that differs when the row has changed."""
        return str(row.updated_at.astimezone(datetime.UTC).isoformat())

    def token_of(self, row: Any) -> str:
        """Return what the hidden field holds of a row."""
        return version_token(self.version_of(row), self.parts_of(row))

    def shown_of(self, row: Any) -> dict[str, Any]:
        """Return what a row holds, by the names of fields."""
        return _flat(self.serializer_class(row, context=self.context).data)

    def parts_of(self, row: Any) -> dict[str, str]:
        """Return what a row holds, as text by the name of each part."""
        shown = self.shown_of(row)
        return {
            field.name: _normal(shown.get(field.name))
            for field in self.visible_fields()
            if field.name in shown
        }

    def parts_sent(self) -> dict[str, str]:
        """Return what the browser sent, likewise."""
        return {
            field.name: _normal(field.value())
            for field in self.visible_fields()
            if field.html_name in self.data
        }

    def take_saved(self, name: str, row: Any) -> None:
        """Put the saved value of a part into the form."""
        self.data[name] = self.parts_of(row).get(name, "")  # type: ignore[index]

    def label_of(self, name: str) -> str:
        """Return what a part is called."""
        return str(self.fields[name].label) if name in self.fields else name

    def text_of(self, name: str, text: str) -> str:
        """Return a part as a person reads it."""
        choices = getattr(self.fields[name].widget, "choices", ()) if name in self.fields else ()
        return Truncator(str(dict(choices).get(text, text))).chars(_LONGEST_SHOWN)

    def other_change(self, row: Any) -> OtherChange | None:
        """Return when the row changed last, and who changed it."""
        by = row.updated_by
        return OtherChange(row.updated_at, by, is_own=bool(by) and by == current_actor())

    def check_version(self, row: Any) -> None:
        """Merge the form with what others saved since it was shown.

        ``row`` is the row as it is now, locked. Stops :meth:`save` where both changed the same
        part and the person has not chosen yet.
        """
        shown_version, shown = _read_token(self.cleaned_data["version"])
        if shown_version == self.version_of(row):
            return
        mine, theirs = self.parts_sent(), self.parts_of(row)
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
                self.take_saved(name, row)
            self.merged = [self.label_of(name) for name in taken]
            self.full_clean()
            if self.errors:
                raise _NotMerged

    @property
    def is_refused(self) -> bool:
        """Whether what was sent was not saved."""
        return bool(self.conflicts) or super().is_refused

    @property
    def choices_sent(self) -> list[tuple[str, str]]:
        """The choices of an earlier refusal, to be sent again."""
        return [
            (name, text)
            for name, text in self.data.items()
            if name.startswith(("keep__", "seen__")) and not self.conflicts
        ]

    def saved_sentence(self) -> str:
        """Return the sentence that says the form is saved, and what others had changed."""
        saved = f"The {self.noun} is saved."
        if not self.merged or self.other is None:
            return saved
        by = f" by {self.other.by}" if self.other.by and not self.other.is_own else ""
        return f"{saved} It keeps a change{by} made in the meantime: {', '.join(self.merged)}."


def version_token(version: str, parts: Mapping[str, str]) -> str:
    """Return the version of a row with a digest of each of its parts, for a hidden field."""
    digests = {name: _digest(text) for name, text in parts.items() if text}
    return json.dumps([version, digests], separators=(",", ":"))


def text_input(**attributes: Any) -> forms.TextInput:
    """Return a one-line input; browsers fill in nothing of their own."""
    return forms.TextInput({"autocomplete": "off", **attributes})


def shown_as(
    label: str, *, widget: forms.Widget | None = None, help_text: str = "", initial: Any = None
) -> forms.Field:
    """Return a field that takes what is sent as it is."""
    return forms.Field(
        label=label,
        widget=widget or text_input(),
        help_text=help_text,
        initial=initial,
        required=False,
    )


def sent(request: HttpRequest) -> QueryDict | None:
    """Return what a form has sent, ``None`` where it is only asked for."""
    return request.POST if request.method == "POST" else None


def way_back(request: HttpRequest, default: str) -> str:
    """Return where a form leads when it is done: the page that led to it, if it says so.

    Only addresses of this service are followed.
    """
    address = request.POST.get("back") or request.GET.get("back") or ""
    is_ours = (
        address.isprintable()
        and address.startswith("/dashboard/")
        and url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    )
    return address if is_ours else default


def _normal(value: Any) -> str:
    """Return a value as text; browsers send line ends as CR LF (HTML, 4.10.22.4)."""
    return "" if value is None else str(value).replace("\r\n", "\n").strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_token(text: str | None) -> tuple[str, dict[str, str] | None]:
    """Return the version in a hidden field and the digests; ``None`` when they are unknown."""
    try:
        version, digests = json.loads(text or "")
    except (ValueError, TypeError):
        return text or "", None
    return str(version), digests if isinstance(digests, dict) else None


def _flat(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a serializer shows, parts of objects by their long names."""
    flat: dict[str, Any] = {}
    for name, value in shown.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}__{part}": text for part, text in value.items()}
        else:
            flat[name] = value
    return flat


def _sentences(errors: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each error of a serializer with the name of its field."""
    for name, found in errors.items():
        if isinstance(found, Mapping):
            yield from _sentences(found, f"{path}{name}__")
        else:
            for sentence in found:
                yield f"{path}{name}", str(sentence)
