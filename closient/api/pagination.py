"""Pages of lists: the parameters that choose one, and the envelope that it comes in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework import serializers

from closient.api import parameters

DEFAULT_SIZE = 25
LARGEST_SIZE = 100
# Far past every end, and safe to multiply by the size.
LAST_PAGE = 1_000_000_000

PARAMETERS = (
    parameters.integer(
        "page",
        "Which page, from 1 (the default). A page past the end is empty.",
        minimum=1,
        maximum=LAST_PAGE,
        example=1,
    ),
    parameters.integer(
        "page_size",
        f"How many rows a page has, {DEFAULT_SIZE} by default.",
        minimum=1,
        maximum=LARGEST_SIZE,
        example=DEFAULT_SIZE,
    ),
)


@dataclasses.dataclass(frozen=True)
class Page:
    """The page that is asked for: its number, from 1, and how many rows fit on it."""

    number: int
    size: int

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Page:
        """Return the page that the parameters, as ``read_query`` gives them, ask for."""
        return cls(asked["page"] or 1, asked["page_size"] or DEFAULT_SIZE)

    @property
    def start(self) -> int:
        """How many rows come before the page."""
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        """How many rows come up to the end of the page, itself included, if it is full."""
        return self.start + self.size

    def envelope(self, data: Sequence[Any], *, total_count: int) -> dict[str, Any]:
        """Return the body of the answer: the page's rows as they are shown, and where it stands."""
        total_pages = -(-total_count // self.size)
        return {
            "data": data,
            "pagination": {
                "page": self.number,
                "page_size": self.size,
                "total_count": total_count,
                "total_pages": total_pages,
                "has_next": self.number < total_pages,
                "has_previous": self.number > 1 and total_count > 0,
            },
        }


class PaginationSerializer(serializers.Serializer[Any]):
    """Where a page stands in its list."""

    page = serializers.IntegerField(
        min_value=1, help_text="Number of this page, from 1.", style={"example": 1}
    )
    page_size = serializers.IntegerField(
        min_value=1,
        max_value=LARGEST_SIZE,
        help_text="How many rows a page has.",
        style={"example": DEFAULT_SIZE},
    )
    total_count = serializers.IntegerField(
        min_value=0, help_text="Rows on all pages together.", style={"example": 87}
    )
    total_pages = serializers.IntegerField(
        min_value=0, help_text="Number of the last page; 0 without rows.", style={"example": 4}
    )
    has_next = serializers.BooleanField(
        help_text="Whether a page with rows follows.", style={"example": True}
    )
    has_previous = serializers.BooleanField(
        help_text="Whether rows come before this page.", style={"example": False}
    )


@functools.cache
def page_of(
    serializer: type[serializers.BaseSerializer[Any]],
) -> type[serializers.BaseSerializer[Any]]:
    """Return the serializer of a page whose rows another serializer shows (for the document)."""
    name = serializer.__name__.removesuffix("Serializer")
    members = {
        "__doc__": "One page of a list.",
        "data": serializer(many=True, help_text="The rows of this page, in the list's order."),
        "pagination": PaginationSerializer(help_text="Where the page stands in the list."),
    }
    return type(f"{name}PageSerializer", (serializers.Serializer,), members)
