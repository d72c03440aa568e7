"""How a list is shown to a user: rows per page, density and columns, remembered for each user."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any, Self

from django.http import QueryDict

from closient.accounts.models import ListDisplay, User
from closient.cells.routing import in_directory
from closient.db.transactions import run_with_retry
from closient.http.pagination import DEFAULT_SIZE
from closient.http.problems import FieldError, Problem

PAGE_SIZES = (DEFAULT_SIZE, 50, 100)
DENSITIES = {"comfortable": False, "compact": True}
# How many page numbers there are beside the current one, and at both ends.
_NEIGHBORS = 2


@dataclasses.dataclass(frozen=True)
class Display:
    """How a list is shown; ``columns`` are the names of the shown columns that can be hidden."""

    page_size: int
    is_compact: bool
    columns: frozenset[str]

    @classmethod
    def of(cls, user: User, list_name: str, default_columns: Collection[str]) -> Self:
        """Return the display of a user's list; one query, of the directory."""
        with in_directory():
            saved = ListDisplay.objects.filter(user=user, list_name=list_name).first()
        saved = saved or ListDisplay()
        columns = default_columns if saved.columns is None else saved.columns
        return cls(saved.page_size or DEFAULT_SIZE, saved.is_compact, frozenset(columns))


def save_display(user: User, list_name: str, sent: QueryDict, columns: Collection[str]) -> None:
    """Save what a form says about how a user wants a list; the rest stays as it is.

    ``columns`` are the names that can be chosen. Raises the ``validation_error`` problem.
    """
    changes: dict[str, Any] = {}
    if "page_size" in sent:
        sizes = [str(size) for size in PAGE_SIZES]
        changes["page_size"] = int(_one_of(sent, "page_size", sizes))
    if "density" in sent:
        changes["is_compact"] = DENSITIES[_one_of(sent, "density", DENSITIES)]
    if "choose" in sent:
        changes["columns"] = [_checked("column", name, columns) for name in sent.getlist("column")]

    def write() -> None:
        saved = ListDisplay.objects.filter(user=user, list_name=list_name)
        if "reset" in sent:
            saved.delete()
        elif changes:
            ListDisplay.objects.update_or_create(user=user, list_name=list_name, defaults=changes)

    with in_directory():
        run_with_retry(write)


def page_numbers(current: int, last: int) -> list[int | None]:
    """Return the numbers of a pager, with ``None`` for a gap.

    It has the first and the last page and the neighbors of the current one; a gap is never a
    single page.
    """
    shown = {1, last, *range(current - _NEIGHBORS, current + _NEIGHBORS + 1)}
    result: list[int | None] = []
    before = 0
    for number in sorted(one for one in shown if 1 <= one <= last):
        if number == before + 2:
            result.append(number - 1)
        elif number > before + 2:
            result.append(None)
        result.append(number)
        before = number
    return result


def _one_of(sent: QueryDict, name: str, allowed: Iterable[str]) -> str:
    return _checked(name, str(sent[name]), allowed)


def _checked(name: str, value: str, allowed: Iterable[str]) -> str:
    allowed = list(allowed)
    if value not in allowed:
        detail = f"Must be one of {', '.join(allowed)}."
        raise Problem("validation_error", errors=[FieldError(f"#/{name}", "choice", detail)])
    return value
