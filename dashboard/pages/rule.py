"""The rule editor: weights, threshold, and a preview of their effect on the numbers."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from catalog.completeness import DEFAULT_RULE, FACTS, Fact, Rule, half_up
from catalog.models import CompletenessRule, effective_rule
from catalog.rule_editing import has_own_rule, locked_rule, reset_rule, set_rule
from catalog.serializers import RuleSerializer, rule_from
from closient.accounts.models import ApiKeyRole, Organization
from closient.accounts.permissions import Access
from closient.db.transactions import run_with_retry
from dashboard.distribution import Distribution, counts_by_mask, distribution
from dashboard.pages.base import organization_page, render_page
from dashboard.pages.forms import OtherChange, VersionedForm, post_data
from dashboard.pages.panels import columns
from dashboard.pages.resources import redirect_with_message
from dashboard.pages.trends import signed

_CHANGED = (
    "The rule was changed after you opened this page, so it was not reset. The page now shows the "
    "current rule."
)
_DIGITS = re.compile(r"[0-9]{1,5}\Z")


class RuleForm(VersionedForm):
    """The form of weights and threshold; its version is the rule that it was opened with."""

    serializer_class = RuleSerializer
    noun = "rule"

    def __init__(self, data: Any = None, *, organization: Organization, rule: Rule) -> None:
        super().__init__(data, initial=self.field_values(rule))
        for fact in FACTS:
            self.fields[f"weights__{fact.name}"] = _number(fact.name.capitalize(), least=0)
        self.fields["threshold"] = _number("Complete at", least=1)
        self.initial["version"] = self.version_token_of(rule)
        self.organization = organization

    @staticmethod
    def version_of(row: Rule) -> str:
        """Return the rule as the text of the hidden field."""
        return " ".join(map(str, (*row.weights, row.threshold)))

    def field_values(self, row: Rule) -> dict[str, Any]:
        """Return the weights and threshold by field name."""
        weights = {f"weights__{fact.name}": row.weight(fact) for fact in FACTS}
        return {**weights, "threshold": row.threshold}

    def other_change(self, row: Rule) -> OtherChange | None:
        """Return when and by whom the organization's own rule was saved; one query."""
        stored = CompletenessRule.objects.filter(organization=self.organization).first()
        return None if stored is None else super().other_change(stored)

    def clean(self) -> dict[str, Any]:
        """Check that all values are whole numbers, then validate them with the serializer."""
        for name in [field.name for field in self.visible_fields()]:
            text = str(self.cleaned_data.get(name) or "").strip()
            if _DIGITS.match(text):
                self.cleaned_data[name] = int(text)
            else:
                self.add_error(name, "Enter a whole number.")
        return self.cleaned_data if self.errors else super().clean()

    @property
    def rule(self) -> Rule:
        """The rule of a valid form."""
        return rule_from(self.values)


def _number(label: str, *, least: int) -> forms.Field:
    attributes = {"min": least, "max": 100, "step": 1, "inputmode": "numeric"}
    return forms.Field(label=label, required=False, widget=forms.NumberInput(attributes))


@dataclasses.dataclass(frozen=True)
class Weight:
    """A fact in the editor: its field and its share of all weights in percent."""

    fact: Fact
    field: forms.BoundField
    share: str

    @property
    def label(self) -> str:
        """The label of the fact."""
        return self.fact.name.capitalize()


@dataclasses.dataclass(frozen=True)
class Change:
    """A number under the current rule (``now``) and under another one (``then``)."""

    label: str
    now: int
    then: int
    unit: str = ""

    @property
    def difference(self) -> str:
        """The signed difference."""
        return signed(self.then - self.now)


@organization_page(write_role=ApiKeyRole.MANAGER)
def show_rule(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the rule, and save changes to it; members below manager can only read it."""
    organization = access.organization
    current = effective_rule(organization)
    form = RuleForm(post_data(request), organization=organization, rule=current)
    if not form.is_bound:
        return _editor(request, organization, form, shown=current)
    if not form.is_valid():
        return _editor(request, organization, form, shown=None, status=422)

    def write() -> Rule:
        before = locked_rule(organization)
        form.check_version(before)
        set_rule(organization, form.rule)
        return before

    before = form.save(write)
    if before is None:
        # Another user saved a rule while this request waited: show that one as the current rule.
        organization.refresh_from_db()
        return _editor(request, organization, form, shown=form.rule, status=422)
    return redirect_with_message(
        request,
        reverse("page-rule", args=[organization.id]),
        f"{form.saved_message()} {_effect(organization, before, form.rule)}",
    )


@organization_page()
def preview_rule(request: HttpRequest, access: Access) -> HttpResponse:
    """Show the effect of the rule in the query, without saving it."""
    organization = access.organization
    current = effective_rule(organization)
    form = RuleForm(request.GET, organization=organization, rule=current)
    rule = form.rule if form.is_valid() else None
    return render_page(
        request,
        "dashboard/rule_preview.html",
        {
            "weights": _weights(form, rule),
            "form": form,
            "is_oob": True,
            **_preview(organization, current, rule),
        },
        status=200 if rule else 422,
    )


@organization_page(write_role=ApiKeyRole.MANAGER)
def reset_to_default_rule(request: HttpRequest, access: Access) -> HttpResponse:
    """Reset the organization's rule to the default."""
    organization = access.organization
    if request.method == "POST":
        # After a double click the default rule is already in use: that is not a conflict.
        seen = request.POST.get("version"), RuleForm.version_of(DEFAULT_RULE)

        def write() -> Rule | None:
            before = locked_rule(organization)
            if RuleForm.version_of(before) not in seen:
                return None
            reset_rule(organization)
            return before

        before = run_with_retry(write)
        if before is None:
            messages.warning(request, _CHANGED)
        else:
            effect = _effect(organization, before, DEFAULT_RULE)
            messages.success(request, f"Rule reset to the default. {effect}")
    return redirect("page-rule", organization_id=organization.id)


def _editor(
    request: HttpRequest,
    organization: Organization,
    form: RuleForm,
    *,
    shown: Rule | None,
    status: int = 200,
) -> HttpResponse:
    current = effective_rule(organization)
    context = {
        "active_route": "page-rule",
        "form": form,
        "weights": _weights(form, shown),
        "rule": current,
        "version": RuleForm.version_of(current),
        "is_own": has_own_rule(organization),
        "default_rule": _rule_text(DEFAULT_RULE),
        "is_oob": False,
        **_preview(organization, current, shown),
    }
    return render_page(request, "dashboard/rule.html", context, status=status)


def _weights(form: RuleForm, rule: Rule | None) -> list[Weight]:
    return [
        Weight(
            fact=fact,
            field=form[f"weights__{fact.name}"],
            share=_share(rule, fact) if rule else "",
        )
        for fact in FACTS
    ]


def _share(rule: Rule, fact: Fact) -> str:
    """Return the share of a fact in percent, with a decimal if it is not whole."""
    return f"{half_up(1000 * rule.weight(fact), rule.total_weight) / 10:g}"


def _preview(organization: Organization, current: Rule, rule: Rule | None) -> dict[str, Any]:
    """Return the context of the preview: the current rule and, if given, another one; one query."""
    now, then = _compared(organization, current, rule or current)
    is_changed = rule is not None and rule != current
    return {
        "changes": [
            Change("Complete products", now.complete, then.complete),
            Change("Average completeness", now.average, then.average, "%"),
        ],
        "total": now.total,
        "is_changed": is_changed,
        "columns": columns(
            organization,
            current,
            now,
            other=rule if is_changed else None,
            then=then if is_changed else None,
        ),
    }


def _compared(
    organization: Organization, current: Rule, rule: Rule
) -> tuple[Distribution, Distribution]:
    by_mask = counts_by_mask(organization.id, organization.today())
    return distribution(by_mask, current), distribution(by_mask, rule)


def _effect(organization: Organization, before: Rule, after: Rule) -> str:
    """Return the effect of a change of the rule, in two sentences."""
    was, has_become = _compared(organization, before, after)
    return (
        f"Complete products: {was.complete:,} before, {has_become.complete:,} now. "
        f"Average completeness: {was.average}% before, {has_become.average}% now."
    )


def _rule_text(rule: Rule) -> str:
    weights = ", ".join(f"{fact.name} {rule.weight(fact)}" for fact in FACTS)
    return f"{weights}; complete at {rule.threshold}% or more"
