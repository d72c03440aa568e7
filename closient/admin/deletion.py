"""Deletion in the admin: the database cascades, so pages count the rows without loading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.utils import model_ngettext
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import ForeignObjectRel, Model, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from closient.admin.counting import count_up_to_limit
from closient.db.limits import long_statements
from closient.db.tenancy import TenantForeignKey
from closient.tally.triggers import is_written_by_triggers

# Rows that the confirmation page lists.
MAX_LISTED = 20

Rows = QuerySet[Any] | Sequence[Model]


def related_deletions(rows: Rows, model: type[Model]) -> Iterator[tuple[type[Model], str, int]]:
    """Yield related models, with a label that says what happens to the rows, and their number.

    Counts stop at ``COUNT_LIMIT``; models without rows are left out, and so are those whose rows
    only the database writes.
    """
    for relation in model._meta.related_objects:
        related: Any = relation.related_model
        if is_written_by_triggers(related):
            continue
        count = count_up_to_limit(_related_rows(relation, rows, model))
        if not count:
            continue
        name = str(related._meta.verbose_name_plural)
        if _is_set_null(relation):
            name += f" that stay, without their {relation.field.verbose_name}"
        yield related, name, count


def _related_rows(relation: ForeignObjectRel, rows: Rows, model: type[Model]) -> QuerySet[Any]:
    related: Any = relation.related_model
    found = related._base_manager.filter(**{f"{relation.field.name}__in": rows})
    if _has_organization(model) and _has_organization(related):
        # Every index begins with the organization.
        organizations: Any = (
            rows.order_by().values("organization_id")
            if isinstance(rows, QuerySet)
            else {row.organization_id for row in rows}  # type: ignore[attr-defined]
        )
        found = found.filter(organization__in=organizations)
    return found  # type: ignore[no-any-return]


def _has_organization(model: Any) -> bool:
    return any(field.name == "organization" for field in model._meta.fields)


def _is_set_null(relation: ForeignObjectRel) -> bool:
    """Return whether a deletion only sets the reference to null."""
    related: Any = relation.related_model
    return any(
        isinstance(constraint, TenantForeignKey)
        and constraint.field == relation.field.name
        and constraint.on_delete == "SET NULL"
        for constraint in related._meta.constraints
    )


def deleted_objects(
    rows: Rows, request: HttpRequest, site: admin.AdminSite, model: type[Model]
) -> tuple[list[str], dict[str, int], set[str], list[str]]:
    """Return what Django's ``get_deleted_objects`` returns, with a limited number of fast queries.

    That is: the first rows, counts by name, models that the user may not delete, an empty list.
    """
    name = str(model._meta.verbose_name)
    shown = [f"{name}: {row}" for row in rows[: MAX_LISTED + 1]]
    total = count_up_to_limit(rows) if isinstance(rows, QuerySet) else len(rows)
    if len(shown) > MAX_LISTED:
        shown[MAX_LISTED:] = ["and more"]
    counts = {str(model._meta.verbose_name_plural): total}
    forbidden = set()
    for related, words, count in related_deletions(rows, model):
        counts[words] = count
        if site.is_registered(related) and not site.get_model_admin(related).has_delete_permission(
            request
        ):
            forbidden.add(str(related._meta.verbose_name_plural))
    return shown, counts, forbidden, []


@admin.action(permissions=["delete"], description="Delete selected %(verbose_name_plural)s")
def delete_selected(
    modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]
) -> TemplateResponse | None:
    """Delete the selected rows after a confirmation page.

    Deletes all rows of a filtered list ("select all") in one statement, without loading them.
    """
    is_whole_list = request.POST.get("select_across") == "1"
    rows: Rows = queryset if is_whole_list else list(queryset)
    shown, counts, forbidden, protected = modeladmin.get_deleted_objects(rows, request)
    if request.POST.get("post"):
        if forbidden:
            raise PermissionDenied
        _delete(modeladmin, request, queryset, rows)
        return None
    opts = modeladmin.opts
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": "Delete multiple objects",
        "subtitle": None,
        "objects_name": str(opts.verbose_name_plural),
        "deleted_objects": shown,
        "model_count": counts.items(),
        "keys": request.POST.getlist(ACTION_CHECKBOX_NAME)[: 1 if is_whole_list else None],
        "is_whole_list": is_whole_list,
        "perms_lacking": forbidden,
        "protected": protected,
        "opts": opts,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "media": modeladmin.media,
    }
    return TemplateResponse(request, "admin/delete_selected_confirmation.html", context)


def _delete(
    modeladmin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any], rows: Rows
) -> None:
    with transaction.atomic(), long_statements():
        if isinstance(rows, list):
            modeladmin.log_deletions(request, rows)  # type: ignore[arg-type]
        _, by_model = queryset.delete()
        deleted = by_model.get(modeladmin.opts.label, 0)
        what = f"{deleted:,} {model_ngettext(modeladmin.opts, deleted)}"
        if not isinstance(rows, list):
            LogEntry.objects.create(
                user_id=str(request.user.pk),
                content_type=ContentType.objects.get_for_model(modeladmin.model),
                object_repr=what,
                action_flag=DELETION,
            )
        connection.check_constraints()
    modeladmin.message_user(request, f"Deleted {what}.", messages.SUCCESS)
