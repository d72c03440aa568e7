"""The page on which a person says what the columns of a file mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from catalog.models import ImportRun
from closient.accounts.permissions import Access
from dashboard.imports.layouts.fields import (
    CERTIFICATE,
    FIELDS,
    METADATA_PREFIX,
    NUTRIENT_PREFIX,
    OFFER,
    PRODUCT,
)
from dashboard.imports.layouts.mapping import FIXED, InvalidMapping
from dashboard.imports.runs import actions
from dashboard.imports.runs.actions import InvalidTransition
from dashboard.pages.base import render_page
from dashboard.pages.imports import editors_page, import_address, run_of

# Values that a file often leaves out because all of its rows have the same.
FOR_ALL_ROWS = ("offer_retailer", "offer_currency", "certification", "issuing_body")
GROUPS = {PRODUCT: "Product", OFFER: "Offer", CERTIFICATE: "Certificate"}
KEEP = "metadata"
# The prefix of the controls of these values.
_ALL = "all-"
TEMPLATE = "dashboard/import_columns.html"


@dataclasses.dataclass(frozen=True)
class ColumnChoice:
    """A column of the file: its title, first values, and the target that is chosen for it.

    ``other`` is that target if it is none of the fields.
    """

    index: int
    title: str
    values: list[str]
    chosen: str

    @property
    def other(self) -> str:
        return "" if self.chosen in ("", KEEP, *FIELDS) else self.chosen

    @property
    def other_label(self) -> str:
        """What the other target is, in words."""
        kind, _, key = self.other.partition(":")
        if f"{kind}:" == NUTRIENT_PREFIX:
            name, _, unit = key.rpartition(":")
            return f"Nutrient {name} in {unit}"
        return f"Metadata {key}"

    @property
    def name(self) -> str:
        """The name of its control."""
        return f"column-{self.index}"


@require_http_methods(["GET", "HEAD", "POST"])
@editors_page
def choose_columns(request: HttpRequest, access: Access, run_id: UUID | None) -> HttpResponse:
    """Show the columns of a file with samples, and take the field of each."""
    run = run_of(access, run_id)
    if not actions.can_map_columns(run):
        messages.error(request, "The columns of this import cannot be chosen now.")
        return redirect(import_address(run))
    if request.method != "POST":
        return render_page(request, TEMPLATE, _context(run, *_suggested(run)))
    given = {name: value for name, value in request.POST.items() if isinstance(value, str)}
    chosen = {column.title: given.get(column.name, "") for column in _columns(run, {})}
    fixed = {
        name.removeprefix(_ALL): value.strip()
        for name, value in given.items()
        if name.startswith(_ALL)
    }
    remember = "remember" in given
    try:
        actions.map_columns(run, _mapping(chosen, fixed), remember=remember)
    except InvalidMapping as error:
        context = {**_context(run, chosen, fixed), "remember": remember, "error": str(error)}
        return render_page(request, TEMPLATE, context, status=422)
    except InvalidTransition as error:
        messages.error(request, str(error))
    return redirect(import_address(run))


def _context(run: ImportRun, chosen: Mapping[str, str], fixed: Mapping[str, str]) -> dict[str, Any]:
    """The page, with the chosen field of each column and the values for all rows."""
    return {
        "active_route": "page-imports",
        "run": run,
        "columns": list(_columns(run, chosen)),
        "groups": [
            (label, [field for field in FIELDS.values() if field.group == group])
            for group, label in GROUPS.items()
        ],
        "for_all_rows": [
            (name, FIELDS[name].label if name in FIELDS else name, fixed.get(name, ""))
            for name in dict.fromkeys((*FOR_ALL_ROWS, *fixed))
        ],
        "keep": KEEP,
        "remember": True,
    }


def _columns(run: ImportRun, chosen: Mapping[str, str]) -> Iterator[ColumnChoice]:
    for index, sample in enumerate(run.found["samples"]):
        title = sample["column"]
        yield ColumnChoice(index, title, sample["values"], chosen.get(title, ""))


def _suggested(run: ImportRun) -> tuple[dict[str, str], dict[str, str]]:
    """The fields of columns, and the values for all rows, to begin with."""
    suggested = actions.suggested_mapping(run) or {}
    chosen = {
        title: KEEP if target == f"{METADATA_PREFIX}{title}" else target
        for title, target in suggested.items()
    }
    fixed = {
        target: title.removeprefix(FIXED)
        for title, target in suggested.items()
        if title.startswith(FIXED)
    }
    return chosen, fixed


def _mapping(chosen: Mapping[str, str], fixed: Mapping[str, str]) -> dict[str, str]:
    """The mapping of the form: columns, and values for all rows.

    Raises :class:`InvalidMapping` if two fields have the same value, which a mapping cannot say.
    """
    of_value: dict[str, str] = {}
    for name, value in fixed.items():
        if value and (other := of_value.setdefault(value, name)) != name:
            labels = " and ".join(FIELDS[each].label for each in (other, name) if each in FIELDS)
            raise InvalidMapping(
                f"{labels} have the same value for all rows, which is not possible: clear one of "
                "them, or add a column to the file."
            )
    mapping = {
        title: f"{METADATA_PREFIX}{title}" if target == KEEP else target
        for title, target in chosen.items()
        if target
    }
    return mapping | {f"{FIXED}{value}": name for name, value in fixed.items() if value}
