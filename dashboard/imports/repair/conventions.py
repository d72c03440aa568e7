"""How a file writes decimal signs and dates, decided once for the whole file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from closient.text.normal import WHITE_SPACE
from dashboard.imports.records import Record
from dashboard.imports.repair.dates import order_in
from dashboard.imports.repair.numbers import decimal_sign_in
from dashboard.imports.repair.prices import amount_in

DATE_FIELDS = ("valid_from", "expiry_date")


class Conventions:
    """The conventions of one file.

    ``records`` returns the records of the file from its start. They are read again only when a cell
    is met that depends on them, once for the numbers and once for the dates.
    """

    def __init__(self, records: Callable[[], Iterator[Record]]) -> None:
        self._records = records

    @functools.cached_property
    def decimal_commas(self) -> bool:
        """Whether numbers prove a comma as the decimal sign, and none proves a point."""
        found = False
        for text in self._amounts():
            sign = decimal_sign_in(text)
            if sign == ".":
                return False
            found = found or sign == ","
        return found

    @functools.cached_property
    def day_first(self) -> bool | None:
        """Whether the day comes before the month in dates; None if they show no or both orders."""
        orders = {
            order
            for record in self._records()
            for certificate in record.certificates
            for field in DATE_FIELDS
            if (order := order_in(certificate.get(field, "").strip(WHITE_SPACE))) is not None
        }
        return orders.pop() if len(orders) == 1 else None

    def _amounts(self) -> Iterator[str]:
        """Yield the amounts of nutrients and the prices of the file."""
        for record in self._records():
            for _, _, amount in record.nutrients or ():
                yield amount
            for offer in record.offers:
                yield amount_in(offer.get("price", "").strip(WHITE_SPACE))
