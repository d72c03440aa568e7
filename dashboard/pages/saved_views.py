"""Saved views: the filters and the order of a list under a name, shared in the organization."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from django.http import QueryDict

from closient.accounts.models import Organization
from closient.db.ids import parse_id
from closient.http.problems import FieldError, Problem
from closient.text.validators import InvalidText, check_text
from dashboard.models import SavedView
from dashboard.pages.filter_form import ListQuery

MAX_VIEWS = 50
NAME_LENGTH = 60
QUERY_LENGTH = 2_000


@dataclasses.dataclass(frozen=True)
class ViewLink:
    """A saved view above a list."""

    view: SavedView
    is_current: bool


def view_links(
    organization: Organization, list_name: str, list_query: ListQuery
) -> Sequence[ViewLink]:
    """Return the views of a list; one query."""
    current = query_of(list_query)
    views = SavedView.objects.of(organization, list_name)
    return [ViewLink(view, view.query == current) for view in views[:MAX_VIEWS]]


def query_of(list_query: ListQuery) -> str:
    """Return what a view remembers of a query: its filters and its order."""
    return list_query.change(page_size=None)


def save_view(
    organization: Organization, list_name: str, name: str, list_query: ListQuery
) -> SavedView:
    """Save the query of a list under a name; an existing view of that name gets the query.

    Raises the ``validation_error`` problem. Must be called in a transaction.
    """
    name = " ".join(name.split())
    query = query_of(list_query)
    if not name or len(name) > NAME_LENGTH:
        raise _invalid(f"Enter a name of 1 to {NAME_LENGTH} characters for the view.")
    try:
        check_text(name, NAME_LENGTH)
    except InvalidText as error:
        raise _invalid(error.sentence) from error
    if not query:
        raise _invalid("Set a filter or an order first: a view remembers them.")
    if len(query) > QUERY_LENGTH:
        raise _invalid("The filters are too long for a view.")
    # One writer at a time, so that the limit holds.
    list(Organization.objects.filter(pk=organization.pk).select_for_update(no_key=True))
    views = SavedView.objects.of(organization, list_name)
    if views.exclude(name=name).count() >= MAX_VIEWS:
        raise _invalid(f"A list has at most {MAX_VIEWS} views: delete one first.")
    found, _ = SavedView.objects.update_or_create(
        organization=organization, list_name=list_name, name=name, defaults={"query": query}
    )
    return found


def delete_view(organization: Organization, list_name: str, view_id: str) -> str:
    """Delete a view, and return its name; empty if there is none with this id."""
    try:
        key = parse_id(view_id)
    except ValueError:
        return ""
    view = SavedView.objects.of(organization, list_name).filter(pk=key).first()
    if view is None:
        return ""
    view.delete()
    return str(view.name)


def view_of(data: QueryDict) -> tuple[str, str]:
    """Return the name to save and the id to delete that a form sends."""
    return str(data.get("name", "")), str(data.get("delete", ""))


def _invalid(sentence: str) -> Problem:
    return Problem("validation_error", errors=[FieldError("#/name", "view", sentence)])
