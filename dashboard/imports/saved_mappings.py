"""Saved mappings: an organization maps the columns of a header once, and imports use it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from django.db.models.functions import Now

from closient.accounts.models import Organization
from closient.db.locks import lock_until_commit
from closient.db.transactions import run_with_retry
from dashboard.imports.layouts.mapping import InvalidMapping, check_mapping, fingerprint
from dashboard.models import ImportMapping

# Of one organization.
MAX_MAPPINGS = 200
MAX_NAME_LENGTH = 100


class SavedMappings:
    """The mappings of an organization by fingerprint; none without an organization.

    One query for the fingerprints, and one for the columns of a known one.
    """

    def __init__(self, organization: Organization | None) -> None:
        self._organization = organization

    @cached_property
    def _fingerprints(self) -> frozenset[str]:
        if self._organization is None:
            return frozenset()
        own = ImportMapping.objects.of(self._organization)
        return frozenset(own.values_list("fingerprint", flat=True))

    def __contains__(self, header: str) -> bool:
        return header in self._fingerprints

    def get(self, header: str) -> dict[str, str] | None:
        """The mapping for a fingerprint, if the organization has one."""
        if self._organization is None or header not in self:
            return None
        own = ImportMapping.objects.of(self._organization).filter(fingerprint=header)
        columns: dict[str, str] | None = own.values_list("columns", flat=True).first()
        return columns


def save_mapping(
    organization: Organization, names: Sequence[str], columns: Mapping[str, str], name: str = ""
) -> ImportMapping:
    """Save a mapping for files with these column names; replaces the one that they had.

    Raises :class:`InvalidMapping`, also if the organization has too many.
    """
    cleaned = check_mapping(columns)
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidMapping(f"The name of a mapping has at most {MAX_NAME_LENGTH} characters.")
    if not names:
        raise InvalidMapping("The file has no columns that could be mapped.")
    header = fingerprint(names)

    def write() -> ImportMapping:
        lock_until_commit(f"import mappings of {organization.pk}")
        own = ImportMapping.objects.of(organization)
        if not own.filter(fingerprint=header).exists() and own.count() >= MAX_MAPPINGS:
            raise InvalidMapping(
                f"An organization has at most {MAX_MAPPINGS} mappings: delete one first."
            )
        values = {"columns": cleaned, "name": name, "updated_at": Now()}
        saved, _ = ImportMapping.objects.update_or_create(
            organization=organization, fingerprint=header, defaults=values
        )
        return saved

    return run_with_retry(write)
