"""The one form in which email addresses are stored, compared and counted."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import idna
from django.db import models

from closient.text.normal import caseless

if TYPE_CHECKING:
    _EmailField = models.EmailField[Any, str]
else:
    _EmailField = models.EmailField


def normal_email(text: str) -> str:
    """Return an address without differences that readers do not see.

    The part before the @ is NFKC and case-folded (Unicode Standard, section 3.13, caseless
    matching); the domain is the ASCII form that browsers send (UTS 46). Nothing is refused here.
    """
    local, at, domain = unicodedata.normalize("NFKC", text.strip()).rpartition("@")
    return f"{caseless(local)}@{_normal_domain(domain)}" if at else caseless(domain)


def _normal_domain(domain: str) -> str:
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return caseless(domain)


class EmailAddressField(_EmailField):
    """An address in its normal form, however it was written: in rows, forms and lookups."""

    def to_python(self, value: Any) -> Any:
        """Return the normal form."""
        text = super().to_python(value)
        return normal_email(text) if isinstance(text, str) else text

    def get_prep_value(self, value: Any) -> Any:
        """Return what is stored, or compared with what is stored."""
        return self.to_python(super().get_prep_value(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Give the instance the form that is stored."""
        value = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value
