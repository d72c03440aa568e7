"""Cursors: the position in a list where a page ends and the next one starts.

A position consists of the values of the last row by which the list is ordered; the last value is
unique. The rows after a position are a few ranges, and an index returns each in order. For example,
in a list by (name, -id): the rows with the same name and a smaller id, then those with a later
name.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.core.signing import BadSignature, Signer
from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row")
Position = Sequence[Any]

MAX_CURSOR_LENGTH = 4_000
PATTERN = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"


def encode(list_id: str, values: Position) -> str:
    """Return the cursor for a position, signed for one list."""
    text = json.dumps(values, default=str, ensure_ascii=False, separators=(",", ":"))
    encoded = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
    return _signer(list_id).sign(encoded)


def decode(list_id: str, cursor: str) -> list[Any]:
    """Return the values in a cursor, dates and ids as text.

    Raises ``ValueError`` unless :func:`encode` returned the cursor for this list.
    """
    try:
        encoded = _signer(list_id).unsign(cursor)
        decoded: list[Any] = json.loads(
            base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        )
    except (BadSignature, binascii.Error) as error:
        raise ValueError("This is not a cursor of this list.") from error
    return decoded


def _signer(list_id: str) -> Signer:
    return Signer(sep=".", salt=f"closient.http.cursors {list_id}")


def position_of(row: Any, order: Sequence[str]) -> list[Any]:
    """Return the position of a row in an order, which is written as for ``order_by``."""
    return [getattr(row, column.removeprefix("-")) for column in order]


def rows_between(
    rows: QuerySet[Any, Row],
    order: Sequence[str],
    *,
    start: int,
    end: int,
    after: Position | None = None,
) -> list[Row]:
    """Return the rows from index ``start`` to ``end`` in an order.

    With ``after``, the first ``end`` rows after that position. Takes up to two queries for each
    column of the order.
    """
    if after is None:
        return list(rows.order_by(*order)[start:end])
    found: list[Row] = []
    for condition in _ranges(rows.model, order, after):
        if len(found) < end:
            found += rows.filter(condition).order_by(*order)[: end - len(found)]
    return found


def _ranges(model: type[Model], order: Sequence[str], position: Position) -> Iterator[Q]:
    """Yield the ranges of the rows after a position, in order."""
    for index in reversed(range(len(order))):
        same = Q()
        for column, value in zip(order[:index], position, strict=False):
            name = column.removeprefix("-")
            same &= Q(**({f"{name}__isnull": True} if value is None else {name: value}))
        for condition in _ranges_of_column(model, order[index], position[index]):
            yield same & condition


def _ranges_of_column(model: type[Model], column: str, value: Any) -> Iterator[Q]:
    """Yield the ranges of a column's values after one of them, as PostgreSQL orders NULLs."""
    name = column.removeprefix("-")
    if column.startswith("-"):
        yield Q(**{f"{name}__isnull": False} if value is None else {f"{name}__lt": value})
    elif value is not None:
        yield Q(**{f"{name}__gt": value})
        if _is_nullable(model, name):
            yield Q(**{f"{name}__isnull": True})


def _is_nullable(model: type[Model], name: str) -> bool:
    try:
        return bool(getattr(model._meta.get_field(name), "null", False))
    except FieldDoesNotExist:
        # An annotation, or ``pk``.
        return False
