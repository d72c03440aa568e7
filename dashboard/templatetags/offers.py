"""Template filters of offers."""

from __future__ import annotations

from django import template

from closient.db.ids import format_id
from dashboard.pages.offers import AddressForm
from offers.models import Offer
from offers.url_checks.schedule.due import is_first_check_due, is_first_check_expected

register = template.Library()

register.filter(is_first_check_due)
register.filter(is_first_check_expected)
register.filter("short_id", format_id)


@register.filter
def address_version(offer: Offer) -> str:
    """Return the hidden version of the address form in an offer's table row."""
    return AddressForm.version_shown(offer)
