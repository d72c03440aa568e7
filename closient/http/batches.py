"""Batches: many rows of a resource are created or changed by their natural keys in one request.

A resource declares an :class:`Upsert`; :class:`BatchEndpoint` does the rest. The items are
validated one by one by the resource's serializer, without queries. Then one transaction writes
them with a number of queries that does not depend on theirs:

1. References are resolved, and the rows with the keys of the items are read, without locks.
2. Rows that an item would change are locked in the order of their ids and compared again.
   Rows that stay as they are are neither locked nor written.
3. New rows are inserted in the order of their keys, and changed ones are updated.

What another transaction changes between these steps raises ``StaleRead``: they run again. So of two
batches with the same new key, the second one changes the row that the first one has created.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, models
from drf_spectacular.utils import OpenApiExample, extend_schema
from psycopg import errors
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from closient.db.ids import format_id
from closient.db.keys import with_keys
from closient.db.transactions import StaleRead
from closient.http import idempotency, openapi
from closient.http.bodies import accepts_body
from closient.http.exceptions import field_errors
from closient.http.fields import TrueOrFalseField, merged_metadata
from closient.http.openapi import FieldErrorSerializer
from closient.http.problems import FieldError, Problem
from closient.http.resources import Resource, ResourceSchema
from closient.http.serializers import RowSerializer, StrictFields, values_of
from closient.text.validators import InvalidField

Row = TypeVar("Row", bound=models.Model)
Values = dict[str, Any]

MAX_ITEMS = 1_000
# Limits the response to a batch in which every item has thousands of wrong values.
MAX_ERRORS_PER_ITEM = 10
ITEMS = "items"

CREATED, UPDATED, UNCHANGED, ERROR = RESULTS = ("created", "updated", "unchanged", "error")


class Upsert(abc.ABC, Generic[Row]):
    """How the rows of a resource are found by their natural keys, created and changed.

    ``key`` are the columns of the natural key, ``key_words`` what clients call them, ``columns``
    all that an item can change. One instance serves one attempt to write a batch.
    """

    model: ClassVar[type[Any]]
    key: ClassVar[tuple[str, ...]]
    key_words: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def __init__(self, organization_id: UUID) -> None:
        self.organization_id = organization_id

    @abc.abstractmethod
    def resolve(self, values: Sequence[Values]) -> Sequence[Values | InvalidField]:
        """Replace references in the validated values of items by the columns that hold them.

        Returns an error for an item with a reference to nothing. Writes nothing: what an item
        refers to and does not exist yet is created by :meth:`save_references`.
        """

    @abc.abstractmethod
    def new(self, values: Values) -> Row:
        """Return a row that is not saved yet. Raises ``InvalidField``."""

    @abc.abstractmethod
    def assign(self, row: Row, values: Values) -> Sequence[str]:
        """Set columns of a row without saving it; return those that differ.

        Raises ``InvalidField``.
        """

    def save_references(self, values: Sequence[Values]) -> None:
        """Create what the values of items without errors refer to. May raise ``StaleRead``."""

    def key_of(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the natural key of a row with these columns, defaults for those that lack."""
        return tuple(values.get(name, default) for name, default in self._defaults)

    @functools.cached_property
    def _defaults(self) -> list[tuple[str, Any]]:
        defaults = ((name, self.model._meta.get_field(name).get_default()) for name in self.key)
        # Of an enumeration the plain value, as serializers return it.
        return [(name, getattr(default, "value", default)) for name, default in defaults]


@dataclasses.dataclass
class _Item:
    """An item of a batch with what becomes of it."""

    index: int
    values: Values
    key: tuple[Any, ...] = ()
    result: str = ERROR
    row: Any = None
    errors: Sequence[FieldError] = ()

    @property
    def pointer(self) -> str:
        return f"#/{ITEMS}/{self.index}"

    def reject(self, error: InvalidField) -> None:
        """Make an error of the item of the reason why its row cannot be written."""
        self.errors = [FieldError(f"{self.pointer}/{error.field}", error.code, str(error))]
        self.result = ERROR

    def shown(self) -> dict[str, Any]:
        """Return the item as the response shows it."""
        known = {} if self.result == ERROR else {"id": format_id(self.row.pk)}
        wrong = [dataclasses.asdict(error) for error in self.errors]
        return {"index": self.index, "result": self.result, **known, "errors": wrong}


class _Writing(Generic[Row]):
    """One attempt to write a batch, in the current transaction."""

    def __init__(self, upsert: Upsert[Row], items: Sequence[_Item]) -> None:
        self._upsert = upsert
        self._items = items

    def run(self, *, is_atomic: bool) -> None:
        """Write the items and set their results; with ``is_atomic`` any error is a problem."""
        self._resolve()
        found = self._find()
        for item in self._valid:
            self._compare(item, found.get(item.key))
        changed = self._with_result(UPDATED)
        locked = self._lock(changed)
        for item in changed:
            self._compare(item, locked[item.key])
        if is_atomic:
            self._raise_errors()
        self._write()

    @property
    def _valid(self) -> list[_Item]:
        return [item for item in self._items if not item.errors]

    def _with_result(self, result: str) -> list[_Item]:
        return [item for item in self._items if item.result == result]

    def _resolve(self) -> None:
        """Replace the references of the items, and reject a second item with the same key."""
        items = self._valid
        resolved = self._upsert.resolve([item.values for item in items])
        first: dict[tuple[Any, ...], _Item] = {}
        for item, values in zip(items, resolved, strict=True):
            if isinstance(values, InvalidField):
                item.reject(values)
                continue
            item.values = values
            item.key = self._upsert.key_of(values)
            earlier = first.setdefault(item.key, item)
            if earlier is not item:
                sentence = (
                    f"Item {earlier.index} of the batch has the same {self._upsert.key_words}: "
                    "send one item for each."
                )
                item.errors = [FieldError(item.pointer, "duplicate", sentence)]

    def _find(self) -> Mapping[tuple[Any, ...], Row]:
        """Return the rows that exist, by their natural keys, without locks."""
        upsert = self._upsert
        keys = [item.key for item in self._valid]
        if not keys:
            return {}
        return self._by_key(with_keys(upsert.model, upsert.organization_id, upsert.key, keys))

    def _by_key(self, rows: Iterable[Row]) -> dict[tuple[Any, ...], Row]:
        return {self._upsert.key_of(vars(row)): row for row in rows}

    def _compare(self, item: _Item, row: Row | None) -> None:
        """Make the item's row, and set its result."""
        values = item.values
        try:
            if "metadata" in values:
                metadata = getattr(row, "metadata", {})
                values = {**values, "metadata": merged_metadata(metadata, values["metadata"])}
            if row is None:
                item.row = self._upsert.new(values)
                item.result = CREATED
            else:
                item.row = row
                item.result = UPDATED if self._upsert.assign(row, values) else UNCHANGED
        except InvalidField as error:
            item.reject(error)

    def _lock(self, items: Sequence[_Item]) -> Mapping[tuple[Any, ...], Row]:
        """Lock the rows of items in the order of their ids, and return them as they are now."""
        if not items:
            return {}
        rows = self._upsert.model._base_manager.filter(pk__in=[item.row.pk for item in items])
        locked = self._by_key(rows.order_by("pk").select_for_update(no_key=True))
        if locked.keys() != {item.key for item in items}:
            raise StaleRead("A row was deleted, or has another key.")
        return locked

    def _raise_errors(self) -> None:
        wrong = [item for item in self._items if item.errors]
        if wrong:
            raise Problem(
                "validation_error",
                f"{len(wrong):,} of {len(self._items):,} items are not valid: nothing was written.",
                errors=[error for item in wrong for error in item.errors],
            )

    def _write(self) -> None:
        created = sorted(self._with_result(CREATED), key=lambda item: item.key)
        updated = self._with_result(UPDATED)
        manager = self._upsert.model._base_manager
        try:
            self._upsert.save_references([item.values for item in self._valid])
            manager.bulk_create([item.row for item in created])
            # An UPDATE of many rows; bulk_update would compose a CASE of each column and row.
            manager.bulk_create(
                [item.row for item in updated],
                update_conflicts=True,
                unique_fields=["id"],
                update_fields=[*self._upsert.columns, "updated_by"],
            )
        except IntegrityError as error:
            if isinstance(error.__cause__, errors.UniqueViolation | errors.ForeignKeyViolation):
                raise StaleRead("A row was created, or one that it refers to deleted.") from error
            raise


class ItemList(serializers.ListSerializer[Any]):
    """The items of a batch: for each its values, or the errors that it has."""

    default_error_messages = {
        "not_a_list": "Must be a list of objects.",
        "empty": "Must have at least one item.",
        "max_length": f"Must have at most {MAX_ITEMS:,} items: send several batches.",
    }

    def to_internal_value(self, data: Any) -> list[Any]:
        """Validate the items one by one."""
        if not isinstance(data, list):
            self.fail("not_a_list")
        if not data:
            self.fail("empty")
        if len(data) > MAX_ITEMS:
            self.fail("max_length")
        return [self._validated(item) for item in data]

    def _validated(self, item: Any) -> Values | serializers.ValidationError:
        try:
            values: Values = self.child.run_validation(item)  # type: ignore[union-attr]
        except serializers.ValidationError as error:
            return error
        return values


@functools.cache
def batch_of(serializer: type[RowSerializer[Any]]) -> type[serializers.Serializer[Any]]:
    """Return the serializer of a batch whose items are those of another serializer."""
    name = serializer.__name__.removesuffix("Serializer")
    members = {"__doc__": "What to create or change; other fields stay.", "is_merged": True}
    item = type(f"{name}BatchItemSerializer", (serializer,), members)
    return type(
        f"{name}BatchSerializer",
        (StrictFields, serializers.Serializer),
        {
            "__doc__": "Rows to create or change.",
            ITEMS: ItemList(
                child=item(),
                min_length=1,
                max_length=MAX_ITEMS,
                help_text=f"The items, at most {MAX_ITEMS:,}.",
            ),
            "atomic": TrueOrFalseField(
                required=False,
                default=False,
                help_text="Whether an error in one item makes the whole batch fail (422). "
                "Otherwise the other items are written.",
                style={"example": False},
            ),
        },
    )


class BatchItemResultSerializer(serializers.Serializer[Any]):
    """What became of an item."""

    index = serializers.IntegerField(
        min_value=0,
        max_value=MAX_ITEMS - 1,
        help_text="Place of the item in the batch, from 0.",
        style={"example": 0},
    )
    result = serializers.ChoiceField(
        choices=RESULTS,
        help_text="`unchanged` items had these values already and were not written.",
        style={"example": CREATED},
    )
    id = serializers.CharField(
        required=False,
        help_text="Id of the row; absent after an error.",
        style={"example": "KwSysDpxcBU9FNhGkn2dCf", "is_optional": True},
    )
    errors = FieldErrorSerializer(  # type: ignore[assignment]
        many=True, help_text="Why the item was not written; otherwise empty."
    )


class BatchCountsSerializer(serializers.Serializer[Any]):
    """How many items have each result."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return a number for each result."""
        return {
            result: serializers.IntegerField(
                min_value=0,
                max_value=MAX_ITEMS,
                help_text=f"Items with the result `{result}`.",
                style={"example": 1 if result == CREATED else 0},
            )
            for result in RESULTS
        }


class BatchResultSerializer(serializers.Serializer[Any]):
    """What became of a batch."""

    counts = BatchCountsSerializer(help_text="The number of items by result.")
    results = BatchItemResultSerializer(
        many=True, help_text="One for each item, in the order of the items."
    )


class BatchEndpoint(Resource):
    """POST: rows are created or changed by their natural keys; idempotent like other POSTs."""

    upsert: ClassVar[type[Upsert[Any]]]

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return the view, which accepts larger bodies than others."""
        return accepts_body(lambda: settings.API_LARGEST_BATCH)(super().as_view(**initkwargs))

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Write the items, and return what became of each."""
        batch = values_of(batch_of(self.serializer_class)(data=request.data))  # type: ignore[arg-type]
        organization_id = self.kwargs["organization_id"]

        def write() -> Response:
            # New ones for each attempt.
            items = [_item(index, found) for index, found in enumerate(batch[ITEMS])]
            _Writing(self.upsert(organization_id), items).run(is_atomic=batch["atomic"])
            results = [item.result for item in items]
            counts = {result: results.count(result) for result in RESULTS}
            return Response({"counts": counts, "results": [item.shown() for item in items]})

        return idempotency.idempotent(request, organization_id, write)


def _item(index: int, found: Values | serializers.ValidationError) -> _Item:
    if not isinstance(found, serializers.ValidationError):
        return _Item(index, found)
    item = _Item(index, {})
    wrong = field_errors(found.detail, item.pointer)
    item.errors = list(itertools.islice(wrong, MAX_ERRORS_PER_ITEM))
    return item


_WRONG = {
    "pointer": f"#/{ITEMS}/1/gtin",
    "code": "gtin_check_digit",
    "detail": "The check digit is wrong: 0401234567890 is followed by 1, not 9.",
}
_EXAMPLE_RESULT = {
    "counts": {CREATED: 1, UPDATED: 0, UNCHANGED: 0, ERROR: 1},
    "results": [
        {"index": 0, "result": CREATED, "id": "KwSysDpxcBU9FNhGkn2dCf", "errors": []},
        {"index": 1, "result": ERROR, "errors": [_WRONG]},
    ],
}


def document_batch(
    schema: ResourceSchema, description: str, *, example: Mapping[str, Any]
) -> Callable[[Any], Any]:
    """Document the batch of a resource, with an example of an item."""
    items = [example, {**example, "gtin": "04012345678909"}]
    return extend_schema(
        examples=[
            OpenApiExample("batch", {ITEMS: items, "atomic": False}, request_only=True),
            OpenApiExample("results", _EXAMPLE_RESULT, response_only=True, status_codes=["200"]),
        ],
        operation_id=f"upsert_{schema.nouns}",
        summary=f"Create or change many {schema.nouns.replace('_', ' ')}",
        description=f"{description} An item changes what it names and keeps the rest; metadata is "
        "merged, and null removes a key. Items that change nothing are not written. The second of "
        "two items with the same key is an error. A batch counts as one request in the rate "
        f"limit. A body may have {settings.API_LARGEST_BATCH:,} bytes.",
        tags=list(schema.tags),
        parameters=[*schema.path, idempotency.PARAMETER, idempotency.REPLAYED_HEADER],
        request=batch_of(schema.serializer),  # type: ignore[arg-type]
        responses=openapi.written(
            200,
            BatchResultSerializer,
            "What became of each item.",
            "unsupported_media_type",
            "validation_error",
            "conflict",
        ),
    )
