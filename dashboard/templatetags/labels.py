"""Labels and badge colors of statuses, and the values of form fields as read-only text."""

from __future__ import annotations

import datetime

from django import template
from django.forms import BoundField, Select
from django.utils.formats import date_format
from django.utils.text import capfirst

from certifications.models import VerificationStatus
from closient.text.urls import is_web_address
from offers.models import OfferStatus, UrlStatus

register = template.Library()

# Statuses whose API value does not make a good label.
_LABELS: dict[str, str] = {
    UrlStatus.OK: "Works",
    UrlStatus.UNCHECKED: "Not checked yet",
    UrlStatus.TIMEOUT: "Too slow",
    UrlStatus.DNS_FAILURE: "No such website",
    UrlStatus.BLOCKED: "Blocked",
}
_BADGE_CLASSES: dict[str, str] = {
    OfferStatus.ACTIVE: "badge-good",
    UrlStatus.OK: "badge-good",
    UrlStatus.BROKEN: "badge-bad",
    UrlStatus.TIMEOUT: "badge-bad",
    UrlStatus.DNS_FAILURE: "badge-bad",
    UrlStatus.BLOCKED: "badge-warn",
    OfferStatus.OUT_OF_STOCK: "badge-warn",
    VerificationStatus.VERIFIED: "badge-good",
    VerificationStatus.EXPIRED: "badge-bad",
}


@register.filter
def status_label(value: str) -> str:
    """Return the label of a status or channel: "Out of stock" for ``out_of_stock``."""
    return _LABELS.get(value) or str(capfirst(value.replace("_", " ")))


@register.filter
def badge_class(value: str) -> str:
    """Return the CSS class of the badge of a status; empty for a neutral badge."""
    return _BADGE_CLASSES.get(value, "")


@register.filter
def display_value(field: BoundField) -> str:
    """Return the value of a form field as read-only text; empty if it has none."""
    value, widget = field.value(), field.field.widget
    if not value:
        return ""
    if isinstance(widget, Select):
        return str(dict(widget.choices).get(value, value))
    if getattr(widget, "input_type", "") == "date":
        return date_format(datetime.date.fromisoformat(value), "j M Y")
    return str(value)


# Rows can be older than the rule: what is not a web address must not become a link.
register.filter("is_web_address", is_web_address)
