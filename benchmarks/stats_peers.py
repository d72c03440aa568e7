"""The seven numbers counted in three ways, and a changed rule, in one run on the same rows.

Run by ``make bench``, in the database of ``benchmarks.stats_at_size``:

* from the tally, as the service does;
* with one ``Count`` or ``Avg`` per number over derived columns, which have covering indexes;
* from the rows alone, with ``EXISTS`` over images, offers and certificates.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from django.db.models import Avg

from benchmarks.results import Column, publish
from benchmarks.stats_at_size import milliseconds, prepare
from catalog.completeness import DEFAULT_RULE, FACT_BY_NAME, percentage_on, where_mask
from catalog.models import Product, effective_rule
from catalog.rule_editing import reset_rule, set_rule
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from dashboard.numbers import StatsQuery, recount, stats
from offers.models import Offer

SIZES = (10_000, 1_000_000)
ROUNDS = 5


def main() -> None:
    """Measure and print the table; each ratio is to the tally."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()

    stats_queries = prepare(options)
    rows: list[tuple[Any, ...]] = []
    for size, stats_query in zip(options.products, stats_queries, strict=True):
        ways = {
            "tally": stats,
            "a count for each number": direct_counts,
            "rows without derived columns": recount,
            "rule changed, then the tally": change_rule_and_read,
        }
        expected = vars(stats(stats_query))
        assert direct_counts(stats_query) == expected
        assert vars(recount(stats_query)) == expected
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                times[name].append(milliseconds(way, stats_query))
        medians = {name: statistics.median(taken) for name, taken in times.items()}
        rows += [(name, size, took, took / medians["tally"]) for name, took in medians.items()]
    publish(
        "stats_peers",
        f"The seven numbers in other ways, medians of {options.rounds} interleaved rounds",
        [
            Column("numbers from"),
            Column("products", ",d"),
            Column("time", ",.2f", "ms"),
            Column("ratio", ",.1f"),
        ],
        rows,
    )


def direct_counts(stats_query: StatsQuery) -> dict[str, int]:
    """Return the numbers with one aggregate each over the derived columns."""
    products = Product.objects.of(stats_query.organization_id).order_by()
    offers = Offer.objects.of(stats_query.organization_id).order_by()
    certificates = CertificationAssignment.objects.of(stats_query.organization_id).order_by()
    rule, day = stats_query.rule, stats_query.day
    mean = products.aggregate(mean=Avg(percentage_on(day, rule)))["mean"]
    images = FACT_BY_NAME["images"].bit
    return {
        "total_products": products.count(),
        "complete_products": products.filter(where_mask(rule.is_complete, day)).count(),
        "avg_completeness": int(mean + type(mean)("0.5")),
        "active_offers": offers.active().count(),
        "broken_offers": offers.broken().count(),
        "expiring_certifications": certificates.expiring_within(
            stats_query.expiring_within, day
        ).count(),
        "missing_images": products.filter(where_mask(lambda mask: not mask & images, day)).count(),
    }


def change_rule_and_read(stats_query: StatsQuery) -> None:
    """Save another rule and read the numbers with it; then reset the rule."""
    organization = Organization.objects.get(pk=stats_query.organization_id)
    set_rule(organization, DEFAULT_RULE)
    changed = Organization.objects.get(pk=stats_query.organization_id)
    stats(StatsQuery(changed.pk, effective_rule(changed), stats_query.day))
    reset_rule(organization)


if __name__ == "__main__":
    main()
