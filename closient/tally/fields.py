"""A set of days as a PostgreSQL ``datemultirange``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from psycopg.types.multirange import Multirange

if TYPE_CHECKING:
    Field = models.Field[Any, Any]
else:
    Field = models.Field


class DateMultiRangeField(Field):
    """Days as ``Multirange[datetime.date]``: disjoint ranges ``[first, day after the last)``."""

    description = "Set of days"

    def db_type(self, connection: Any) -> str:
        return "datemultirange"

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.value_from_object(obj))


def no_days() -> Multirange[Any]:
    """Return the empty set of days."""
    return Multirange()


class NoDays(models.Func):
    """The empty set of days, as the default of a column in the database."""

    template = "'{}'::datemultirange"
    output_field = DateMultiRangeField()


class RangeAgg(models.Aggregate):
    """The union of ranges as a multirange; NULL without rows."""

    function = "range_agg"
    output_field = DateMultiRangeField()


class ValidDays(models.Func):
    """The days from a first to a last date, both included; a NULL bound is open.

    Registers write 9999-12-31 for "never": such a range has no end, because Python has no later
    date.
    """

    template = "daterange(%(expressions)s, '[]')"

    def __init__(self, starts: str, ends: str) -> None:
        super().__init__(
            starts,
            models.Func(ends, models.Value(NEVER), function="NULLIF"),
            output_field=models.Field(),
        )


NEVER = "9999-12-31"
