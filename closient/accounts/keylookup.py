"""The query behind every request with a key: the key, its organization, and rows beside that.

Written once for each set of related rows. The ORM would compose the same joins anew for each
request, which takes several times as long as PostgreSQL takes to answer.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from django.db import connection, models

from closient.accounts.models import ApiKey, Organization, User


@dataclasses.dataclass(frozen=True)
class Part:
    """A model whose columns stand side by side in the answer, from ``start`` on."""

    model: type[models.Model]
    start: int
    names: tuple[str, ...]

    @property
    def end(self) -> int:
        """The place after its last column."""
        return self.start + len(self.names)

    def read(self, row: Sequence[Any]) -> Any:
        """Return the instance in a row, ``None`` where the join found nothing."""
        values = row[self.start : self.end]
        key = values[self.names.index(self.model._meta.pk.attname)]
        return None if key is None else self.model.from_db("default", self.names, values)


@dataclasses.dataclass(frozen=True)
class Lookup:
    """The SQL, and what stands where in its answer."""

    sql: str
    key: Part
    organization: Part
    beside: dict[str, Part]


@dataclasses.dataclass(frozen=True)
class Found:
    """A key with its organization and the rows beside that, and whether its user may log in.

    ``has_active_user`` is ``None`` for a key that belongs to no user.
    """

    key: ApiKey
    has_active_user: bool | None


def find(digest: str, related: tuple[str, ...] = ()) -> Found | None:
    """Return the key of a digest, revoked and expired ones too, in one query.

    ``related`` names one-to-one rows that refer to the organization.
    """
    lookup = _lookup(related)
    with connection.cursor() as cursor:
        cursor.execute(lookup.sql, [digest])
        row = cursor.fetchone()
    if row is None:
        return None
    key: ApiKey = lookup.key.read(row)
    organization = lookup.organization.read(row)
    if organization is not None:
        key.organization = organization
        for name, part in lookup.beside.items():
            relation: Any = Organization._meta.get_field(name)
            # Also remembers that there is none, which would otherwise cost a query.
            relation.set_cached_value(organization, part.read(row))
    return Found(key, has_active_user=row[0])


@functools.cache
def _lookup(related: tuple[str, ...]) -> Lookup:
    quote = connection.ops.quote_name
    columns = ["holder.is_active"]

    def part(model: type[models.Model], table: str) -> Part:
        fields = model._meta.concrete_fields
        start = len(columns)
        columns.extend(f"{table}.{quote(field.column)}" for field in fields)
        return Part(model, start, tuple(field.attname for field in fields))

    key = part(ApiKey, "key")
    organization = part(Organization, "organization")
    beside, joins = {}, []
    for place, name in enumerate(related):
        relation: Any = Organization._meta.get_field(name)
        beside[name] = part(relation.related_model, f"beside_{place}")
        joins.append(
            f" LEFT JOIN {quote(relation.related_model._meta.db_table)} AS beside_{place}"
            f" ON beside_{place}.{quote(relation.field.column)} = organization.id"
        )
    sql = (
        f"SELECT {', '.join(columns)}"  # noqa: S608 - names of models, not of callers
        f" FROM {quote(ApiKey._meta.db_table)} AS key"
        f" LEFT JOIN {quote(Organization._meta.db_table)} AS organization"
        " ON organization.id = key.organization_id"
        f" LEFT JOIN {quote(User._meta.db_table)} AS holder ON holder.id = key.user_id"
        f"{''.join(joins)} WHERE key.digest = %s"
    )
    return Lookup(sql, key, organization, beside)
