"""A nightly sync through the API: products, offers and certificates in batches of 1,000.

    python -m benchmarks.batch_sync [--rows 50000]

Run by ``make bench``. One client sends everything that it has to the real server, as a script of an
ERP would: the first night, a night on which one offer in a hundred has another price, and a night
on which nothing has changed. Then another client reads the feed of changes. Works in a new
organization in the database of ``benchmarks.stats_at_size``, and deletes it afterwards.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from benchmarks.results import Column, publish
from benchmarks.stats_at_size import use_database
from benchmarks.stats_requests.__main__ import database_url, key_of, serving
from catalog.completeness import DEFAULT_RULE
from catalog.gtin import check_digit
from closient.accounts.models import ApiKeyRole, Organization
from closient.db.ids import format_id
from closient.http.batches import MAX_ITEMS
from dashboard.api.changes import MAX_SIZE
from dashboard.numbers import StatsQuery

ROWS = 50_000
BRANDS = 500
Items = Callable[[int, int], dict[str, Any]]


class Measured(NamedTuple):
    """A part of a sync: its rows, how long it took, and what the server said."""

    name: str
    rows: int
    seconds: float
    requests: int


def gtin(number: int) -> str:
    """Return the GTIN-14 of a number."""
    digits = f"02{number:011d}"
    return digits + check_digit(digits)


def product(number: int, night: int) -> dict[str, Any]:
    """Return a product as the client knows it on a night."""
    return {
        "gtin": gtin(number),
        "name": f"Product {number}",
        "description": f"What product {number} is and what it is good for",
        "brand": f"Brand {number % BRANDS}",
        "category": "Groceries",
        "country_of_origin": "DE",
        "net_content": "500 g",
        "nutrition": {
            "nutrients": [
                {"name": "energy", "amount": str(number % 3000), "unit": "kJ"},
                {"name": "fat", "amount": f"{number % 100}.5", "unit": "g"},
            ]
        },
    }


def offer(number: int, night: int) -> dict[str, Any]:
    """Return an offer; on the second night one in a hundred has another price."""
    is_changed = night > 0 and number % 100 == 0
    return {
        "gtin": gtin(number),
        "retailer": f"Retailer {number % 20}",
        "sku": f"A{number}",
        "url": f"https://shop{number % 20}.example.com/items/{number}",
        "price": "9.99" if is_changed else f"{number % 500}.50",
        "currency": "EUR",
    }


def certificate(number: int, night: int) -> dict[str, Any]:
    """Return a certificate."""
    return {
        "gtin": gtin(number),
        "certification": {"code": "eu-organic", "label": "EU Organic"},
        "certificate_number": f"DE-{number}",
        "valid_from": "2026-01-01",
        "expiry_date": f"2027-{number % 12 + 1:02d}-01",
    }


RESOURCES: dict[str, tuple[str, Items]] = {
    "products": ("trade-items", product),
    "offers": ("offers", offer),
    "certificates": ("certifications", certificate),
}
NIGHTS = ("first night", "1% of the offers changed", "nothing changed")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N")
    parser.add_argument("--database", help="name of the scratch database (default: <name>_bench)")
    options = parser.parse_args()
    use_database(options.database or f"{connection.settings_dict['NAME']}_bench")
    organization = Organization.objects.create(name="Benchmark")
    stats_query = StatsQuery(organization.pk, DEFAULT_RULE, organization.today())
    try:
        key = key_of(stats_query, ApiKeyRole.EDITOR)
        with serving("closient.wsgi:application", database_url(), stats_query) as (_, port):
            client = Client(port, key, format_id(organization.pk))
            measured = list(client.nights(options.rows))
    finally:
        organization.delete()
    total = sum(one.requests for one in measured if one.name.startswith(NIGHTS[1]))
    publish(
        "batch_sync",
        f"A sync of {options.rows:,} products, offers and certificates each; a night takes "
        f"{total:,} of {settings.API_LIMIT_PER_DAY:,} requests a day",
        [
            Column("part"),
            Column("rows", ",d"),
            Column("time", ".1f", "s"),
            Column("rows per second", ",.0f"),
            Column("requests", ",d"),
        ],
        [
            (one.name, one.rows, one.seconds, one.rows / one.seconds, one.requests)
            for one in measured
        ],
    )


class Client:
    """A client with a key, over one connection."""

    def __init__(self, port: int, key: str, organization: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.key = key
        self.organization = organization

    def nights(self, rows: int) -> Iterator[Measured]:
        """Yield the parts of each night, and the reading of the changes."""
        for night, name in enumerate(NIGHTS):
            for noun, (path, item) in RESOURCES.items():
                expected = self.expected(noun, night, rows)
                yield self.send(f"{name}: {noun}", path, item, night, rows, expected)
        yield self.read(3 * rows)

    def expected(self, noun: str, night: int, rows: int) -> dict[str, int]:
        """Return the counts of the results that the server must report."""
        changed = -(-rows // 100) if night == 1 and noun == "offers" else 0
        created = rows if night == 0 else 0
        return {
            "created": created,
            "updated": changed,
            "unchanged": rows - created - changed,
            "error": 0,
        }

    def send(  # noqa: PLR0913, PLR0917 - one call for each part
        self, name: str, path: str, item: Items, night: int, rows: int, expected: dict[str, int]
    ) -> Measured:
        """Send all rows of a resource in batches."""
        counts = dict.fromkeys(expected, 0)
        requests = 0
        start = time.perf_counter()
        for first in range(0, rows, MAX_ITEMS):
            items = [item(n, night) for n in range(first, min(first + MAX_ITEMS, rows))]
            found = self.request("POST", f"{path}/{self.organization}/batch", {"items": items})
            requests += 1
            for result, count in found["counts"].items():
                counts[result] += count
        took = time.perf_counter() - start
        assert counts == expected, (name, counts)
        return Measured(name, rows, took, requests)

    def read(self, expected: int) -> Measured:
        """Read the feed of changes from its beginning."""
        path = f"changes/{self.organization}?page_size={MAX_SIZE}"
        rows = requests = 0
        page: dict[str, Any] = {"has_next": True}
        start = time.perf_counter()
        while page["has_next"]:
            after = f"&after={page['next_after']}" if requests else ""
            page = self.request("GET", path + after)
            rows += len(page["data"])
            requests += 1
        took = time.perf_counter() - start
        assert rows == expected, rows
        return Measured("all changes, read from the feed", rows, took, requests)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Return the body of a response, whose status must be 200."""
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body)
        self.connection.request(method, f"/dashboard/api/v1/{path}", sent, headers)
        response = self.connection.getresponse()
        text = response.read()
        assert response.status == HTTPStatus.OK, (response.status, text[:1000])
        return json.loads(text)


if __name__ == "__main__":
    main()
