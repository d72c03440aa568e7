"""Filters of the admin's product list: by facts and completeness."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from catalog import completeness
from catalog.models import effective_rule
from closient.accounts.models import Organization
from closient.accounts.tenant_admin import requested_organization_id


def day_of_list(organization: Organization | None) -> datetime.date:
    """Return the organization's today; for a list of all organizations the date in UTC."""
    return organization.today() if organization else timezone.localdate(timezone=datetime.UTC)


class FactsFilter(admin.ListFilter):
    """By facts: ``?has=brand,name`` and ``?missing=images,offers``; all conditions must hold."""

    title = "what it has"
    template = "admin/facts_filter.html"
    parameters = ("has", "missing")

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.named: dict[str, list[str]] = {}
        for parameter in self.parameters:
            values = params.pop(parameter, [])
            names = [name for name in ",".join(values).split(",") if name]
            if not completeness.FACT_BY_NAME.keys() >= set(names):
                raise IncorrectLookupParameters(f"Unknown fact: {names}")
            self.named[parameter] = names
            if names:
                self.used_parameters[parameter] = ",".join(names)

    def has_output(self) -> bool:
        """Return True: the filter is always shown."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Return the filter's query parameters."""
        return list(self.parameters)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the products with the chosen facts present and missing today."""
        has, lacks = (completeness.mask_of(self.named[name]) for name in self.parameters)
        if not has | lacks:
            return queryset
        day = day_of_list(chosen_organization(request))
        return queryset.filter(
            completeness.where_mask(lambda mask: mask & has == has and not mask & lacks, day)
        )

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield each fact with the three links of its row."""
        for fact in completeness.FACTS:
            state = next((p for p in self.parameters if fact.name in self.named[p]), "any")
            links = [
                {
                    "text": text,
                    "selected": state == choice,
                    "query_string": self._address(changelist, fact.name, choice),
                }
                for choice, text in (("any", "all"), ("has", "has"), ("missing", "missing"))
            ]
            yield {"fact": fact.name, "links": links}

    def _address(self, changelist: ChangeList, fact: str, choice: str) -> str:
        chosen = {}
        for parameter, names in self.named.items():
            others = [name for name in names if name != fact]
            chosen[parameter] = ",".join([*others, fact] if parameter == choice else others)
        return changelist.get_query_string(
            {parameter: names for parameter, names in chosen.items() if names},
            remove=[parameter for parameter, names in chosen.items() if not names],
        )


class CompleteFilter(admin.SimpleListFilter):
    """By whether a product is complete by the organization's rule, within one organization."""

    title = "complete by the organization's rule"
    parameter_name = "complete"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """Return the choices; none for all organizations, whose rules differ."""
        is_limited = requested_organization_id(request) is not None
        return [("true", "complete"), ("false", "not complete")] if is_limited else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the products that are, or are not, complete today."""
        if self.value() not in ("true", "false"):
            return queryset
        organization = chosen_organization(request)
        if organization is None:
            return queryset
        rule, wanted = effective_rule(organization), self.value() == "true"
        return queryset.filter(
            completeness.where_mask(
                lambda mask: rule.is_complete(mask) == wanted, organization.today()
            )
        )


def chosen_organization(request: HttpRequest) -> Organization | None:
    """Return the organization that a list is limited to, with its rule; None for all."""
    if not hasattr(request, "chosen_organization"):
        key = requested_organization_id(request)
        request.chosen_organization = (  # type: ignore[attr-defined]
            Organization.objects.select_related("completeness_rule").filter(pk=key).first()
            if key
            else None
        )
    return request.chosen_organization  # type: ignore[attr-defined,no-any-return]
