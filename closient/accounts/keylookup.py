"""The one statement before every request with a key.

It finds the key, its organization and rows beside that, and counts the request against the key's
rate limit. It is its own transaction: what the request does later cannot take the count back. At
most once a minute another one stamps the key's ``last_used_at``.

The text is composed once for each set of related rows and prepared by the server. The ORM would
compose the joins for each request, which takes several times as long as PostgreSQL takes to answer.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import connection, models

from closient.accounts.models import ApiKey, ApiKeyKind, Organization
from closient.accounts.ratelimit import COUNT, WAIT_BRIEFLY, Limits, Verdict, verdict_of
from closient.db.prepared import prepared_cursor


@dataclasses.dataclass(frozen=True)
class Part:
    """A model whose columns stand side by side in the answer, from ``start`` on."""

    model: type[models.Model]
    start: int
    names: tuple[str, ...]

    @functools.cached_property
    def end(self) -> int:
        """The place after its last column."""
        return self.start + len(self.names)

    @functools.cached_property
    def key(self) -> int:
        """The place of its primary key."""
        pk: Any = self.model._meta.pk
        return self.start + self.names.index(pk.attname)

    def read(self, row: Sequence[Any]) -> Any:
        """Return the instance in a row, ``None`` where the join found nothing."""
        if row[self.key] is None:
            return None
        return self.model.from_db("default", self.names, row[self.start : self.end])


@dataclasses.dataclass(frozen=True)
class Lookup:
    """The SQL, and what stands where in its answer."""

    sql: str
    key: Part
    organization: Part
    beside: dict[str, Part]


@dataclasses.dataclass(frozen=True)
class Admission:
    """A key that is valid now, with its organization and the rows beside that, and the verdict."""

    key: ApiKey
    verdict: Verdict


def admit(digest: str, related: tuple[str, ...] = ()) -> Admission | None:
    """Count a request with the key of a digest; ``None`` and uncounted unless the key is valid.

    Revoked and expired keys are not valid, nor are those of users who may not log in. ``related``
    names one-to-one rows that refer to the organization.
    """
    lookup = _lookup(related)
    parameters = {
        "digest": digest,
        "per_minute": settings.API_LIMIT_PER_MINUTE,
        "publishable_per_minute": settings.API_LIMIT_PUBLISHABLE_PER_MINUTE,
        "per_day": settings.API_LIMIT_PER_DAY,
    }
    with prepared_cursor() as cursor:
        cursor.execute(lookup.sql, parameters)
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
    stamp_is_due, per_minute, per_day, *counted = row[:COUNTED]
    if stamp_is_due:
        with connection.cursor() as cursor:
            cursor.execute(_STAMP, [key.pk])
    return Admission(key, verdict_of(Limits(per_minute, per_day), counted))


_STAMP_IS_DUE = """(
    key.last_used_at IS NULL
    OR key.last_used_at <= statement_timestamp() - interval '1 minute'
    OR key.last_used_at > statement_timestamp()
)"""
# Leaves a key that others hold to them: who edits it, or stamps it at the same moment. A stamp that
# a crash of the server takes back is not worth waiting for its disk.
_STAMP = f"""
    UPDATE public.accounts_apikey SET last_used_at = statement_timestamp()
    WHERE set_config('synchronous_commit', 'off', true) IS NOT NULL AND id = (
        SELECT id FROM public.accounts_apikey AS key
        WHERE id = %s AND {_STAMP_IS_DUE} FOR NO KEY UPDATE SKIP LOCKED
    )
"""  # noqa: S608 - constants of ours
# Columns of the answer before those of the models.
_COUNTED = (
    "stamp_is_due",
    "per_minute",
    "per_day",
    "is_allowed",
    "minute_count",
    "minute_age",
    "day_count",
    "day_age",
)
COUNTED = len(_COUNTED)
# The key if it is valid, with the limits that hold for it: its own, else those of its kind. All
# rows are read here, before the row of the limit is locked, so that others wait briefly for it.
_ASKED = f"""
    SELECT
        'key:' || key.id AS subject,
        coalesce(
            nullif(key.limit_per_minute, 0),
            CASE key.kind
                WHEN '{ApiKeyKind.PUBLISHABLE.value}' THEN %(publishable_per_minute)s::bigint
                ELSE %(per_minute)s::bigint
            END
        ) AS per_minute,
        coalesce(nullif(key.limit_per_day, 0), %(per_day)s::bigint) AS per_day,
        key.id AS key_id,
        {WAIT_BRIEFLY},
        {_STAMP_IS_DUE} AS stamp_is_due,
        {{columns}}
    FROM public.accounts_apikey AS key
    LEFT JOIN public.accounts_user AS holder ON holder.id = key.user_id
    LEFT JOIN public.accounts_organization AS organization ON organization.id = key.organization_id
    {{joins}}
    WHERE key.digest = %(digest)s
        AND key.is_active
        AND (key.expires_at IS NULL OR key.expires_at > statement_timestamp())
        AND (key.kind <> '{ApiKeyKind.USER.value}' OR holder.is_active)
"""  # noqa: S608 - constants of ours


@functools.cache
def _lookup(related: tuple[str, ...]) -> Lookup:
    quote = connection.ops.quote_name
    columns: list[str] = []

    def part(model: type[models.Model], table: str) -> Part:
        fields = model._meta.concrete_fields
        start = COUNTED + len(columns)
        columns.extend(f"{table}.{quote(field.column)}" for field in fields)
        return Part(model, start, tuple(field.attname for field in fields))

    key = part(ApiKey, "key")
    organization = part(Organization, "organization")
    beside, joins = {}, []
    for place, name in enumerate(related):
        relation: Any = Organization._meta.get_field(name)
        beside[name] = part(relation.related_model, f"beside_{place}")
        joins.append(
            f"LEFT JOIN {quote(relation.related_model._meta.db_table)} AS beside_{place}"
            f" ON beside_{place}.{quote(relation.field.column)} = organization.id"
        )
    numbered = [f"column_{place}" for place in range(len(columns))]
    asked = _ASKED.format(
        columns=", ".join(map("{} AS {}".format, columns, numbered)), joins=" ".join(joins)
    )
    sql = (
        f"WITH asked AS MATERIALIZED ({asked}), counted AS ({COUNT})"  # noqa: S608 - names of models, not of callers
        f" SELECT {', '.join((*_COUNTED, *numbered))} FROM asked CROSS JOIN counted"
    )
    # In one line: psycopg remembers how it read a statement, unless that is long.
    return Lookup(" ".join(sql.split()), key, organization, beside)
