"""The words of the API as a person reads them, and whether they are good news."""

from __future__ import annotations

import datetime

from django import template
from django.forms import BoundField, Select
from django.utils.formats import date_format
from django.utils.text import capfirst

from catalog.links import is_web_address
from certifications.models import VerificationStatus
from offers.models import OfferStatus, UrlStatus

register = template.Library()

# Where the word of the API itself is none that people use.
_SAID: dict[str, str] = {
    UrlStatus.OK: "Works",
    UrlStatus.UNCHECKED: "Not checked yet",
    UrlStatus.TIMEOUT: "Too slow",
    UrlStatus.DNS_FAILURE: "No such website",
    UrlStatus.BLOCKED: "Not let in",
}
_TONES: dict[str, str] = {
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
def said(word: str) -> str:
    """Return a status or channel as people say it: ``out_of_stock`` is "Out of stock"."""
    return _SAID.get(word) or str(capfirst(word.replace("_", " ")))


@register.filter
def tone(word: str) -> str:
    """Return the class of a badge that holds a status."""
    return _TONES.get(word, "")


@register.filter
def shown(field: BoundField) -> str:
    """Return the value of a form's field as who may not change it reads it; blank without one."""
    value, widget = field.value(), field.field.widget
    if not value:
        return ""
    if isinstance(widget, Select):
        return str(dict(widget.choices).get(value, value))
    if getattr(widget, "input_type", "") == "date":
        return date_format(datetime.date.fromisoformat(value), "j M Y")
    return str(value)


# Rows can be older than the rule: what is no address of the web must not become a link.
register.filter("is_web_address", is_web_address)
