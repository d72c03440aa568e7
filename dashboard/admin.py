"""The numbers on an organization's admin page."""

from __future__ import annotations

import dataclasses

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from catalog.models import effective_rule
from closient.accounts.admin import OrganizationAdmin
from closient.accounts.models import Organization
from dashboard.numbers import StatsQuery, stats


@admin.display(description="Live numbers")
def live_numbers(organization: Organization) -> SafeString:
    """Return the current numbers, for today in the organization's time zone.

    Reads the saved row: a rejected form leaves its invalid values on the given instance.
    """
    saved = Organization.objects.select_related("completeness_rule").get(pk=organization.pk)
    numbers = stats(StatsQuery(saved.pk, effective_rule(saved), saved.today()))
    return format_html(
        '<dl class="numbers">{}</dl>',
        format_html_join(
            "",
            "<div><dd>{}</dd><dt>{}</dt></div>",
            (
                (f"{value:,}", name.replace("_", " "))
                for name, value in dataclasses.asdict(numbers).items()
            ),
        ),
    )


OrganizationAdmin.extend(fields=[live_numbers])
