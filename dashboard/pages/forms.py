"""Forms whose values the API's own serializers read: what is valid is written down once, there."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from django import forms
from django.db import IntegrityError
from django.http import HttpRequest, QueryDict
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import Truncator
from rest_framework import serializers

from closient.api.conflicts import problem_of_refusal
from closient.api.problems import FieldError, Problem
from closient.api.transactions import commit

T = TypeVar("T")

_MEANWHILE = (
    "Somebody else has changed this since you opened it. Your entries are still here, and beside "
    "them what is saved where it differs: save once more to put yours in its place."
)
# So much of a long text is told.
_TOLD = 200


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
        except Problem as error:
            problem = error
        if problem.kind.error_code not in ("validation_error", "conflict"):
            raise problem
        for wrong in problem.errors:
            self.refuse(wrong.pointer.removeprefix("#/").replace("/", "__"), wrong.detail)
        if not problem.errors:
            self.refuse("", problem.detail)
        return None


class VersionedForm(BodyForm):
    """A form that knows how old its row is: who saves learns that somebody else was quicker."""

    version = forms.CharField(widget=forms.HiddenInput(), required=False)

    def __init__(self, data: QueryDict | None = None, *, changes: Any = None, **more: Any) -> None:
        initial = {"version": self.version_of(changes)} if changes else {}
        super().__init__(
            data, changes=changes, initial={**initial, **more.pop("initial", {})}, **more
        )

    def body(self) -> dict[str, Any]:
        """Return the body, to which the version does not belong."""
        body = super().body()
        body.pop("version", None)
        return body

    @staticmethod
    def version_of(row: Any) -> str:
        """Return the text by which the form knows that its row was not changed meanwhile."""
        return str(row.updated_at.astimezone(datetime.UTC).isoformat())

    def shown_of(self, row: Any) -> dict[str, Any]:
        """Return what a row holds, by the names of fields."""
        return _flat(self.serializer_class(row, context=self.context).data)

    def check_version(self, row: Any) -> None:
        """Refuse to overwrite what somebody else has written since the form was shown.

        ``row`` is the row as it is now, locked: what it holds is told at each field that says
        something else. Raises a ``conflict``; sent once more, the form is taken.
        """
        now = self.version_of(row)
        if self.cleaned_data["version"] == now:
            return
        data: Any = self.data
        self.data = data.copy()
        self.data["version"] = now  # type: ignore[index]
        told = [FieldError("#", "changed_meanwhile", _MEANWHILE)]
        for name, text in self.differing(self.shown_of(row)):
            saved = Truncator(text).chars(_TOLD) or "nothing"
            told.append(FieldError(f"#/{name}", "changed_meanwhile", f"Saved now: {saved}"))
        # Who saves the same, or by two clicks at once, has nothing to decide.
        if len(told) > 1:
            raise Problem("conflict", errors=told)

    def differing(self, shown: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the name of each field that says something else, with what is saved, in words."""
        for field in self.visible_fields():
            saved = "" if shown[field.name] is None else str(shown[field.name])
            if str(field.value() or "").replace("\r\n", "\n").strip() != saved:
                choices: Any = getattr(field.field.widget, "choices", ())
                yield field.name, str(dict(choices).get(saved, saved))


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
