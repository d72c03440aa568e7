"""Why the numbers changed: the difference between then and now, by cause, without a remainder.

The tally is linear, so the entries of now without those that changes have posted since are the
entries of then. From there everything is replayed in order: each change, each change of the rule
and each midnight. What a step adds to a number is its part; so the parts of a number add up to the
difference, whatever happened.
"""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Sum

from catalog.completeness import DATED_FACT, DEFAULT_RULE, FACTS, Rule, half_up
from catalog.models import effective_rule
from certifications.models import EXPIRING_WITHIN
from closient.accounts.models import Organization
from closient.changes.models import Cause, Change, CountChange, RowChange
from closient.db.replicas import reads_on_replica
from closient.tally.models import ALWAYS, PastEntry, TallyEntry
from dashboard.numbers import EXPIRY, NUMBERS, PRODUCTS, SOURCES, sums

# Causes of which each change is a part; of the others, all changes of one actor are one part.
_ONE_BY_ONE = {Cause.IMPORT, Cause.SOURCE, Cause.BULK_EDIT, Cause.UNDO}
CHUNK = 2_000
# What is not a transaction: a midnight, and a change of the rule.
DAY, RULE = "day", "rule"

Numbers = dict[str, int | Decimal]


class Entry(NamedTuple):
    """An entry of the tally: an amount of an account's bucket, from a day on."""

    account: str
    bucket: str
    effective_on: datetime.date
    amount: int


@dataclasses.dataclass
class Part:
    """What one cause contributed to the difference.

    ``cause`` is one of :class:`Cause`, ``day`` for what happened at midnight (certificates that
    became valid or expired) or ``rule``. ``changes`` is how many changes, days or rules it sums
    up. ``gained`` and ``lost`` are, of days, the products that became certified and that no longer
    are. ``numbers`` are the differences.
    """

    cause: str
    actor: str
    reference: UUID | None
    change_id: UUID | None
    first_at: datetime.datetime
    last_at: datetime.datetime
    numbers: Numbers
    changes: int = 1
    gained: int = 0
    lost: int = 0


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The numbers then and now, and the parts of the difference in the order of their first step.

    ``avg_completeness`` has two decimals here; all other numbers are integers. For each number the
    parts add up to ``after`` minus ``before`` exactly.
    """

    since: datetime.datetime
    before: Numbers
    after: Numbers
    parts: Sequence[Part]


@reads_on_replica
def explain(organization: Organization, since: datetime.datetime) -> Explanation:
    """Explain the difference between the numbers at a time and those of now.

    Changes are dated by their first write. Must be within the time that the history is kept.
    """
    return _Replay(organization, since).run()


def recorded_since(organization: Organization) -> datetime.datetime:
    """Return the time since which everything is recorded; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT applied FROM django_migrations WHERE app = 'changes' AND name = '0002_causes'"
        )
        applied: datetime.datetime = cursor.fetchone()[0]
    return max(applied, organization.created_at)


class _Step(NamedTuple):
    at: datetime.datetime
    part: Part
    entries: Sequence[Entry]
    rule: Rule | None


class _Replay:
    """The state of the tally on a day, which steps change."""

    def __init__(self, organization: Organization, since: datetime.datetime) -> None:
        self._organization = organization
        self._since = since
        self._zone = zoneinfo.ZoneInfo(organization.time_zone)
        self._day = since.astimezone(self._zone).date()
        self._today = organization.today()
        self._rule = effective_rule(organization)
        self._dated: dict[tuple[str, str, datetime.date], int] = defaultdict(int)
        self._counts: dict[tuple[str, str], int] = defaultdict(int)

    def run(self) -> Explanation:
        """Replay all steps."""
        steps = list(self._steps())
        posted = [entry for step in steps for entry in step.entries]
        for entry in self._entries_now():
            self._dated[entry[:3]] += entry.amount
        for entry in posted:
            self._dated[entry[:3]] -= entry.amount
        self._weights = _Weights({(account, bucket) for account, bucket, _ in self._dated})
        for (account, bucket, day), amount in self._dated.items():
            if self._counts_on(account, day, self._day):
                self._counts[account, bucket] += amount
        self._sum_up()
        before = shown = self._numbers()
        parts: dict[tuple[Any, ...], Part] = {}
        for step in steps:
            self._take(step)
            now = self._numbers()
            _add(parts, step.part, {name: now[name] - shown[name] for name in now})
            shown = now
        return Explanation(self._since, before, shown, list(parts.values()))

    def _take(self, step: _Step) -> None:
        if step.part.cause == DAY:
            self._next_day(step.part)
        if step.rule is not None:
            self._rule = step.rule
            self._sum_up()
        for entry in step.entries:
            self._dated[entry[:3]] += entry.amount
            if self._counts_on(entry.account, entry.effective_on, self._day):
                self._count(entry.account, entry.bucket, entry.amount)

    def _count(self, account: str, bucket: str, amount: int) -> None:
        self._counts[account, bucket] += amount
        for name, weight in self._weights.of(self._rule)[account, bucket].items():
            self._totals[name] += weight * amount

    def _sum_up(self) -> None:
        """Compute the totals of the numbers from the counts, by the current rule."""
        counts = dict(self._counts)
        self._counts.clear()
        self._totals = dict.fromkeys((number.name for number in NUMBERS), 0)
        for (account, bucket), amount in counts.items():
            self._count(account, bucket, amount)

    def _next_day(self, part: Part) -> None:
        yesterday, self._day = self._day, self._day + datetime.timedelta(days=1)
        for (account, bucket, day), amount in self._dated.items():
            was = self._counts_on(account, day, yesterday)
            change = (self._counts_on(account, day, self._day) - was) * amount
            if not change:
                continue
            self._count(account, bucket, change)
            if account == PRODUCTS.account and change > 0:
                is_certified = bool(int(bucket) & DATED_FACT.bit)
                part.gained += change if is_certified else 0
                part.lost += 0 if is_certified else change

    def _counts_on(self, account: str, effective_on: datetime.date, day: datetime.date) -> bool:
        if account == EXPIRY.account:
            return day < effective_on <= day + datetime.timedelta(days=EXPIRING_WITHIN)
        return effective_on <= day

    def _numbers(self) -> Numbers:
        numbers: Numbers = {}
        for number in NUMBERS:
            total = self._totals[number.name]
            if number.mean_over is None:
                numbers[number.name] = total
            else:
                count = self._totals[number.mean_over]
                numbers[number.name] = Decimal(half_up(100 * total, count) if count else 0) / 100
        return numbers

    def _entries_now(self) -> Iterator[Entry]:
        accounts = {source.account for source in SOURCES}
        for model in (TallyEntry, PastEntry):
            rows: Any = model._base_manager.filter(
                organization_id=self._organization.pk, account__in=accounts
            )
            grouped = rows.order_by().values_list("account", "bucket", "effective_on")
            for row in grouped.annotate(amount=Sum("amount")):
                if model is PastEntry:
                    # It is in the entries that always count, too.
                    yield Entry(row[0], row[1], ALWAYS, -row[3])
                yield Entry(*row)

    def _steps(self) -> Iterator[_Step]:
        """Yield all steps in the order of time; at the same time midnights come first."""
        steps = [*self._midnights(), *self._changes()]
        yield from sorted(steps, key=lambda step: (step.at, step.part.cause != DAY))

    def _midnights(self) -> Iterator[_Step]:
        day = self._day
        while day < self._today:
            day += datetime.timedelta(days=1)
            at = datetime.datetime.combine(day, datetime.time(), self._zone)
            yield _Step(at, Part(DAY, "", None, None, at, at, {}), (), None)

    def _changes(self) -> Iterator[_Step]:
        changes = Change.objects.of(self._organization).filter(made_at__gt=self._since)
        entries: dict[UUID, list[Entry]] = defaultdict(list)
        accounts = [source.account for source in SOURCES]
        with connection.cursor() as cursor:
            cursor.execute(
                _COUNT_CHANGES, {"organization": self._organization.pk, "since": self._since}
            )
            for change_id, *entry in cursor:
                if entry[0] in accounts:
                    entries[change_id].append(Entry(*entry))
        rules = self._rules()
        for change in changes.order_by("made_at", "id").iterator(chunk_size=CHUNK):
            at, place = change.made_at, (change.actor, change.reference, change.id)
            if posted := entries.get(change.id):
                yield _Step(at, Part(change.cause, *place, at, at, {}), posted, None)
            if change.id in rules:
                yield _Step(at, Part(RULE, *place, at, at, {}), (), rules[change.id])

    def _rules(self) -> dict[UUID, Rule]:
        """Return the rule after each change of it, and go back to the rule of then."""
        since = Change.objects.of(self._organization).filter(made_at__gt=self._since)
        recorded = RowChange.objects.filter(
            organization_id=self._organization.pk, kind="rule", change_id__in=since.values("id")
        )
        newest_first = list(recorded.order_by("-id"))
        rules: dict[UUID, Rule] = {}
        for row in newest_first:
            rules.setdefault(row.change_id, self._rule)
            self._rule = _rule_before(self._rule, row)
        return rules


_COUNT_CHANGES = f"""
    SELECT x.change_id, x.account, x.bucket, x.effective_on, sum(x.amount)::integer
    FROM {Change._meta.db_table} AS c
    JOIN {CountChange._meta.db_table} AS x
        ON x.organization_id = c.organization_id AND x.change_id = c.id
    WHERE c.organization_id = %(organization)s AND c.made_at > %(since)s
    GROUP BY x.change_id, x.account, x.bucket, x.effective_on
    HAVING sum(x.amount) <> 0
"""


def _rule_before(rule: Rule, row: RowChange) -> Rule:
    """Return the rule before a recorded change of it; without values it was the default rule."""
    if row.before is None:
        return DEFAULT_RULE
    values = {"threshold": rule.threshold, **dict(zip(_NAMES, rule.weights, strict=True))}
    values |= row.before
    return Rule(weights=tuple(values[name] for name in _NAMES), threshold=values["threshold"])


_NAMES = [fact.name for fact in FACTS]


class _Weights:
    """How much one row in a bucket adds to each number, by the definitions of the numbers."""

    def __init__(self, places: set[tuple[str, str]]) -> None:
        self._places = sorted(places)
        self._known: dict[Rule, dict[tuple[str, str], dict[str, int]]] = {}

    def of(self, rule: Rule) -> Mapping[tuple[str, str], Mapping[str, int]]:
        """Return the weights under a rule; one query for each rule and source."""
        if rule not in self._known:
            self._known[rule] = found = {}
            for source in SOURCES:
                buckets = [bucket for account, bucket in self._places if account == source.account]
                names = [number.name for number in NUMBERS if number.source == source]
                for bucket, *values in self._read(rule, names, buckets):
                    found[source.account, bucket] = dict(zip(names, values, strict=True))
        return self._known[rule]

    def _read(self, rule: Rule, names: Sequence[str], buckets: Sequence[str]) -> list[Any]:
        by_name = sums(percentages="%(percentages)s::bytea", threshold="%(threshold)s::integer")
        columns = ", ".join(f"coalesce({by_name[name]}, 0)::integer" for name in names)
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT bucket, {columns} FROM ("
                "SELECT bucket, 1 AS amount FROM unnest(%(buckets)s::text[]) AS b (bucket)"
                ") AS entries GROUP BY bucket",
                {
                    "percentages": rule.percentages,
                    "threshold": rule.threshold,
                    "buckets": list(buckets),
                },
            )
            return list(cursor.fetchall())


def _add(parts: dict[tuple[Any, ...], Part], part: Part, numbers: Numbers) -> None:
    """Add a step to the part that it belongs to; steps that change no number belong to none."""
    if not any(numbers.values()):
        return
    part.numbers = numbers
    one = part.change_id if part.cause in (*_ONE_BY_ONE, RULE) else None
    known = parts.setdefault((part.cause, part.actor, one), part)
    if known is part:
        if one is None:
            part.change_id = None
        return
    known.last_at = part.last_at
    known.changes += part.changes
    known.gained += part.gained
    known.lost += part.lost
    known.numbers = {name: known.numbers[name] + numbers[name] for name in numbers}
