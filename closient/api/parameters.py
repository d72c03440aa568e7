"""Query parameters: declared once, read strictly, documented from the declaration."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Callable, Iterable
from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import OpenApiParameter

from closient.api.problems import FieldError, Problem

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class Refused(ValueError):
    """A value is refused; the message says why, ``code`` names the rule."""

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

    def documented(self) -> OpenApiParameter:
        """Return the parameter as drf-spectacular takes it."""
        return OpenApiParameter(
            self.name, self.schema, OpenApiParameter.QUERY, description=self.description
        )


def integer(name: str, description: str, *, minimum: int, maximum: int, example: int) -> Parameter:
    """Return a parameter that takes a whole number in ASCII digits, both bounds included."""

    def read(text: str) -> int:
        if not _INTEGER.match(text):
            raise Refused("integer", "This has to be a whole number, written in digits.")
        if not minimum <= (number := int(text)) <= maximum:
            raise Refused("range", f"This has to be from {minimum} to {maximum}.")
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

    def read(text: str) -> datetime.date:
        try:
            if _DATE.match(text):
                return datetime.date.fromisoformat(text)
        except ValueError:
            pass
        raise Refused("date", "This has to be a date, written as YYYY-MM-DD.")

    return Parameter(
        name, description, read, {"type": "string", "format": "date", "examples": [example]}
    )


def refusal(name: str, code: str, detail: str) -> FieldError:
    """Return the error of a query parameter."""
    return FieldError(f"#/query/{name}", code, detail)


def read_query(query: QueryDict, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return each parameter's value by name, ``None`` for an absent one.

    Parameters that are not declared are ignored. Raises a ``validation_error`` :class:`Problem`
    that names every parameter that is given twice or has a bad value.
    """
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for parameter in parameters:
        texts = query.getlist(parameter.name)
        values[parameter.name] = None
        if len(texts) > 1:
            errors.append(refusal(parameter.name, "repeated", "This may be given once only."))
        elif texts:
            try:
                values[parameter.name] = parameter.read(texts[0])
            except Refused as error:
                errors.append(refusal(parameter.name, error.code, str(error)))
    if errors:
        raise Problem("validation_error", errors=errors)
    return values
