"""The validity of a certificate, as a badge."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from django import template

from certifications.models import EXPIRING_WITHIN, CertificationAssignment

register = template.Library()


class Validity(NamedTuple):
    """The text of a badge and its CSS class."""

    text: str
    badge_class: str


@register.filter
def validity(assignment: CertificationAssignment, today: datetime.date) -> Validity:
    """Return whether a certificate is valid today, and how long if it expires soon."""
    begins, ends = assignment.valid_from, assignment.expiry_date
    if ends is not None and ends < today:
        return Validity("Expired", "badge-bad")
    if begins is not None and begins > today:
        return Validity("Not valid yet", "")
    days = None if ends is None else (ends - today).days
    if days is None or days > EXPIRING_WITHIN:
        return Validity("Valid", "badge-good")
    if days == 0:
        return Validity("Expires today", "badge-warn")
    return Validity("Expires tomorrow" if days == 1 else f"Expires in {days} days", "badge-warn")
