"""Query parameters: declared once, read strictly, documented from the declaration."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter

from closient.http.problems import FieldError, Problem
from closient.http.unknown_names import MAX_UNKNOWN, unknown_name

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_MOMENT = re.compile(
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?P<fraction>\.[0-9]{1,30})?(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)


class InvalidParameter(ValueError):
    """A value was rejected; the message says why, ``code`` names the rule."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Parameter:
    """An optional query parameter: how its text is read, and its OpenAPI schema."""

    name: str
    description: str
    read: Callable[[str], Any]
    schema: dict[str, Any]

    @property
    def is_list(self) -> bool:
        """Whether it takes several values: with commas between, or given several times."""
        return bool(self.schema["type"] == "array")

    def documented(self) -> OpenApiParameter:
        """Return the parameter as drf-spectacular takes it."""
        return OpenApiParameter(
            self.name,
            self.schema,
            OpenApiParameter.QUERY,
            description=self.description,
            explode=False if self.is_list else None,
            style="form" if self.is_list else None,
        )


def integer(name: str, description: str, *, minimum: int, maximum: int, example: int) -> Parameter:
    """Return a parameter that takes a whole number in ASCII digits, both bounds included."""

    def read(text: str) -> int:
        if not _INTEGER.match(text):
            raise InvalidParameter("integer", "Must be an integer.")
        if not minimum <= (number := int(text)) <= maximum:
            raise InvalidParameter("range", f"Must be from {minimum} to {maximum}.")
        return number

    schema = {
        "type": "integer",
        "minimum": minimum,
        "maximum": maximum,
        "examples": [example],
    }
    return Parameter(name, description, read, schema)


def date(name: str, description: str, *, example: str) -> Parameter:
    """Return a parameter that takes a date as YYYY-MM-DD (RFC 3339, full-date)."""
    return Parameter(
        name, description, read_date, {"type": "string", "format": "date", "examples": [example]}
    )


def read_date(text: str) -> datetime.date:
    """Return a date written as YYYY-MM-DD; other ISO 8601 formats are rejected.

    Raises :class:`InvalidParameter`.
    """
    try:
        if _DATE.match(text):
            return datetime.date.fromisoformat(text)
    except ValueError:
        pass
    raise InvalidParameter("date", "Must be a date, YYYY-MM-DD.")


def moment(name: str, description: str, *, example: str) -> Parameter:
    """Return a parameter that takes a time with an offset (RFC 3339, date-time)."""
    return Parameter(
        name,
        description,
        read_moment,
        {"type": "string", "format": "date-time", "examples": [example]},
    )


def read_moment(text: str) -> datetime.datetime:
    """Return a time in UTC, without what is below a microsecond. Raises ``InvalidParameter``."""
    try:
        if match := _MOMENT.match(text):
            return datetime.datetime.fromisoformat(
                f"{match['time']}{(match['fraction'] or '')[:7]}{match['offset']}".upper()
            ).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidParameter(
        "moment",
        "Must be a time with an offset, such as 2026-11-24T09:30:00Z or "
        "2026-11-24T10:30:00+01:00 (+ is %2B in a URL).",
    )


def boolean(name: str, description: str, *, example: bool) -> Parameter:
    """Return a parameter that takes ``true`` or ``false``."""

    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise InvalidParameter("boolean", "Must be true or false.")
        return text == "true"

    return Parameter(name, description, read, {"type": "boolean", "examples": [example]})


def choice(name: str, description: str, *, words: Sequence[str], example: str) -> Parameter:
    """Return a parameter that takes one of a few words."""

    def read(text: str) -> str:
        if text not in words:
            raise InvalidParameter("choice", f"Must be one of {', '.join(words)}.")
        return text

    schema = {"type": "string", "enum": list(words), "examples": [example]}
    return Parameter(name, description, read, schema)


def choices(name: str, description: str, *, words: Sequence[str], example: str) -> Parameter:
    """Return a parameter that takes some of a few words; each counts once.

    They come separated by commas (OpenAPI's ``explode: false``) or with the parameter repeated.
    """

    def read(text: str) -> frozenset[str]:
        chosen = frozenset(text.split(","))
        if not chosen <= set(words):
            raise InvalidParameter(
                "choice", f"Must be one or more of {', '.join(words)}, separated by commas."
            )
        return chosen

    schema = {
        "type": "array",
        "items": {"type": "string", "enum": list(words)},
        "minItems": 1,
        "examples": [example.split(",")],
    }
    return Parameter(name, description, read, schema)


def text(
    name: str, description: str, *, max_length: int, example: str, min_length: int = 1
) -> Parameter:
    """Return a parameter that takes a text within a range of lengths, without NULs."""

    def read(text: str) -> str:
        if not min_length <= len(text) <= max_length or "\x00" in text:
            raise InvalidParameter("text", f"Must have {min_length} to {max_length} characters.")
        return text

    schema = {
        "type": "string",
        "minLength": min_length,
        "maxLength": max_length,
        "pattern": "^[^\\x00]*$",
        "examples": [example],
    }
    return Parameter(name, description, read, schema)


def parameter_error(name: str, code: str, detail: str) -> FieldError:
    """Return the error of a query parameter."""
    return FieldError(f"#/query/{name}", code, detail)


def reject_unknown(query: QueryDict, parameters: Iterable[Parameter]) -> None:
    """Raise a ``validation_error`` that names every query parameter that is not declared."""
    known = [parameter.name for parameter in parameters]
    errors = [
        parameter_error(
            name, "unknown_parameter", unknown_name(name, known, kind="query parameter")
        )
        for name in itertools.islice((name for name in query if name not in known), MAX_UNKNOWN)
    ]
    if errors:
        raise Problem("validation_error", errors=errors)


def read_query(query: QueryDict, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return each parameter's value by name, ``None`` for an absent one.

    Other parameters are left to :func:`reject_unknown`. Raises a ``validation_error``
    :class:`Problem` that names every parameter that is given twice or has a bad value.
    """
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for parameter in parameters:
        texts = query.getlist(parameter.name)
        values[parameter.name] = None
        if len(texts) > 1 and not parameter.is_list:
            errors.append(
                parameter_error(parameter.name, "repeated", "This may be given once only.")
            )
        elif texts:
            try:
                values[parameter.name] = parameter.read(",".join(texts))
            except InvalidParameter as error:
                errors.append(parameter_error(parameter.name, error.code, str(error)))
    if errors:
        raise Problem("validation_error", errors=errors)
    return values
