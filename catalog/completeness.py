"""Completeness: the facts about a product, and the rule that turns them into a percentage.

A product has a fixed set of facts, each true or false. They form a bitmask, its *fact mask*. A rule
gives each fact a weight; the percentage of a mask is the weight of its true facts over the total
weight. There are few masks (two to the power of the number of facts), so a rule is applied to a
catalog of any size by reading one count for each mask in use.

:data:`FACTS` is the only definition of the facts. The generated columns, the columns of the rule,
the API's fields, the pages and the admin's filters are built from it.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.db import models
from django.db.models import Case, Exists, F, Func, Q, Value, When
from django.db.models.expressions import Expression
from django.db.models.functions import Cast

from closient.text.normal import WHITE_SPACE


class IsFilled(Func):
    """SQL condition: the text column contains more than white space."""

    template = f"(btrim(%(expressions)s, '{WHITE_SPACE}') <> '')"
    output_field = models.BooleanField()
    conditional = True


class HasNutrient(Func):
    """SQL condition: the nutrition column has at least one nutrient."""

    template = "((%(expressions)s #> '{nutrients,0}') IS NOT NULL)"
    output_field = models.BooleanField()
    conditional = True


@dataclasses.dataclass(frozen=True)
class Fact:
    """One property of a complete product.

    ``name`` is also the label, and the name of the weight's column in the rule. ``weight`` is the
    default. ``condition`` is the SQL condition over the product's own columns, or ``counted`` over
    the derived columns of its summary; the one fact without either depends on the date (see
    :data:`DATED_FACT`). ``field`` is the product's field in
    which people edit it. Without one, the page of a product has an element with the fact's name as
    its id. ``bit`` is set by the position in :data:`FACTS`.
    """

    name: str
    weight: int
    hint: str
    condition: Q | Func | None = None
    counted: Q | None = None
    field: str | None = None
    bit: int = 0


def _with_bits(*facts: Fact) -> tuple[Fact, ...]:
    return tuple(dataclasses.replace(fact, bit=1 << place) for place, fact in enumerate(facts))


# Append new facts, never insert: the bits are in stored data. The masks fit into a smallint with up
# to 15 facts.
FACTS = _with_bits(
    Fact("name", 15, "Give the product a name.", IsFilled("name"), field="name"),
    Fact("description", 15, "Describe the product.", IsFilled("description"), field="description"),
    Fact("brand", 10, "Set the product's brand.", Q(brand__isnull=False), field="brand"),
    Fact(
        "category", 10, "Put the product into a category.", IsFilled("category"), field="category"
    ),
    Fact("images", 15, "Add at least one image.", counted=Q(image_count__gt=0)),
    Fact("nutrition", 10, "Add at least one nutrient.", HasNutrient("nutrition")),
    Fact("certifications", 5, "Assign a certification that is valid today."),
    Fact("offers", 10, "Add at least one active offer.", counted=Q(active_offer_count__gt=0)),
    Fact(
        "country",
        10,
        "Set the country of origin.",
        IsFilled("country_of_origin"),
        field="country_of_origin",
    ),
)
FACT_BY_NAME: Mapping[str, Fact] = {fact.name: fact for fact in FACTS}
# A certificate starts or expires at midnight without any write, so its fact is not part of the
# generated columns: it is true on the days in the summary's certified_during.
DATED_FACT = FACT_BY_NAME["certifications"]
ALL_MASKS = range(1 << len(FACTS))
DEFAULT_THRESHOLD = 80


def fact_bits(conditions: Mapping[str, Q | Expression | Exists]) -> Expression:
    """Return the SQL expression of a fact mask.

    ``conditions`` overrides the conditions of facts, by name. A fact without any condition is left
    out.
    """
    found = ((fact, conditions.get(fact.name, fact.condition)) for fact in FACTS)
    return _sum_of_bits([(fact, condition) for fact, condition in found if condition is not None])


def _sum_of_bits(conditions: Sequence[tuple[Fact, Any]]) -> Expression:
    bits = [
        Case(When(condition, then=Value(fact.bit)), default=Value(0))
        for fact, condition in conditions
    ]
    return sum(bits[1:], start=bits[0])


def own_facts() -> Expression:
    """Return the SQL expression of the product's generated column ``own_facts``."""
    return fact_bits({})


def static_facts() -> Expression:
    """Return the SQL expression of the summary's generated column: the facts true on any day."""
    counted = [(fact, fact.counted) for fact in FACTS if fact.counted is not None]
    return F("own_facts") + _sum_of_bits(counted)


def facts_of(mask: int) -> dict[str, bool]:
    """Return whether each fact of a mask is true, by name, in the order of FACTS."""
    return {fact.name: bool(mask & fact.bit) for fact in FACTS}


def mask_of(names: Iterable[str]) -> int:
    """Return the fact mask in which exactly the named facts are true.

    Raises ``KeyError`` for an unknown name.
    """
    return functools.reduce(lambda mask, name: mask | FACT_BY_NAME[name].bit, names, 0)


@dataclasses.dataclass(frozen=True)
class StoredMasks:
    """Masks of the summary's generated column, by whether a product with the mask matches.

    It matches ``always``, only if ``certified`` (a certificate is valid on the day), or only if
    ``uncertified``.
    """

    always: tuple[int, ...]
    certified: tuple[int, ...]
    uncertified: tuple[int, ...]

    def on(self, day: datetime.date, summary: str = "summary__") -> Q:
        """Return a filter for products with these masks on a day.

        ``summary`` is the path to the summary; empty for a filter of summaries. A condition with
        lists of masks: the planner has an index and statistics for the column. Each list is in one
        condition, and the first has all masks, or the planner underestimates the rows.
        """
        is_certified = CoversDay(F(f"{summary}certified_during"), Value(day))
        facts = f"{summary}facts__in"
        condition = Q(**{facts: [*self.always, *self.certified, *self.uncertified]})
        if self.certified:
            condition &= Q(is_certified) | ~Q(**{facts: self.certified})
        if self.uncertified:
            condition &= ~Q(is_certified) | ~Q(**{facts: self.uncertified})
        return condition


def stored_masks(matches: Callable[[int], bool]) -> StoredMasks:
    """Return the stored masks of the fact masks that match."""
    always, certified, uncertified = [], [], []
    for mask in ALL_MASKS:
        if mask & DATED_FACT.bit:
            continue
        without, with_certificate = matches(mask), matches(mask | DATED_FACT.bit)
        if without and with_certificate:
            always.append(mask)
        elif with_certificate:
            certified.append(mask)
        elif without:
            uncertified.append(mask)
    return StoredMasks(tuple(always), tuple(certified), tuple(uncertified))


def where_mask(matches: Callable[[int], bool], day: datetime.date) -> Q:
    """Return a filter for products whose fact mask on a day matches."""
    return stored_masks(matches).on(day)


def percentage_on(day: datetime.date, rule: Rule) -> Expression:
    """Return the SQL expression of a product's percentage on a day."""
    is_certified = Q(CoversDay(F("summary__certified_during"), Value(day)))
    dated = Case(When(is_certified, then=Value(DATED_FACT.bit)), default=Value(0))
    return Func(
        Value(rule.percentages),
        Cast("summary__facts", models.IntegerField()) + dated,
        function="get_byte",
        output_field=models.IntegerField(),
    )


class CoversDay(Func):
    """SQL condition: the column's date ranges contain the day."""

    template = "(%(expressions)s)"
    arg_joiner = " @> "
    output_field = models.BooleanField()
    conditional = True


def half_up(dividend: int, divisor: int) -> int:
    """Return the quotient of two non-negative integers, rounded half up."""
    return (2 * dividend + divisor) // (2 * divisor)


@dataclasses.dataclass(frozen=True)
class Rule:
    """The weight of each fact (in the order of FACTS, 0 to 100, not all 0) and the threshold."""

    weights: tuple[int, ...] = tuple(fact.weight for fact in FACTS)
    threshold: int = DEFAULT_THRESHOLD

    @property
    def total_weight(self) -> int:
        """The sum of the weights of all facts."""
        return sum(self.weights)

    def weight(self, fact: Fact) -> int:
        """Return the weight of one fact."""
        return self.weights[FACTS.index(fact)]

    @property
    def percentages(self) -> bytes:
        """The percentages of all fact masks, one byte each, indexed by mask."""
        return _percentages(self.weights)

    def percentage(self, mask: int) -> int:
        """Return a fact mask's percentage: an integer from 0 to 100, rounded half up."""
        return self.percentages[mask]

    def is_complete(self, mask: int) -> bool:
        """Return whether a fact mask reaches the threshold."""
        return self.percentage(mask) >= self.threshold


@functools.lru_cache(maxsize=1024)
def _percentages(weights: tuple[int, ...]) -> bytes:
    total = sum(weights)
    return bytes(
        half_up(
            100 * sum(w for fact, w in zip(FACTS, weights, strict=True) if mask & fact.bit),
            total,
        )
        for mask in ALL_MASKS
    )


DEFAULT_RULE = Rule()
