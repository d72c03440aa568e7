"""The normal form of email addresses, in which they are stored, compared and counted."""

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
    """Return the normal form of an address: spellings that look the same become equal.

    The part before the @ is NFKC and case-folded (Unicode Standard, section 3.13, caseless
    matching); the domain is the ASCII form that browsers send (UTS 46). Never raises.
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
    """A field that normalizes addresses in rows, forms and lookups."""

    def to_python(self, value: Any) -> Any:
        """Return the normal form."""
        text = super().to_python(value)
        return normal_email(text) if isinstance(text, str) else text

    def get_prep_value(self, value: Any) -> Any:
        """Return the normal form for the database."""
        return self.to_python(super().get_prep_value(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Return the normal form, and set it on the instance."""
        value = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value
