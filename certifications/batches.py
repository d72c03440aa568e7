"""Batches of certification assignments."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.editing import with_product_ids
from certifications.editing import (
    CertificationsByCode,
    assign_to_assignment,
    new_assignment,
)
from certifications.models import CertificationAssignment
from closient.http.batches import Upsert, Values
from closient.text.validators import InvalidField


class AssignmentUpsert(Upsert[CertificationAssignment]):
    """Assignments by product, certification and certificate number."""

    model = CertificationAssignment
    key = ("product_id", "certification_id", "certificate_number")
    key_words = "GTIN, certification and certificate number"
    columns = (
        "issuing_body",
        "valid_from",
        "expiry_date",
        "verification_status",
        "verification_url",
        "metadata",
    )

    def resolve(self, values: Sequence[Values]) -> Sequence[Values | InvalidField]:
        """Replace the GTINs and the codes of certifications by keys."""
        found = with_product_ids(self.organization_id, values)
        self._certifications = CertificationsByCode(
            self.organization_id,
            {one["certification"]["code"] for one in found if not isinstance(one, InvalidField)},
        )
        return [
            one if isinstance(one, InvalidField) else self._with_certification_id(one)
            for one in found
        ]

    def _with_certification_id(self, values: Values) -> Values:
        key = self._certifications[values["certification"]["code"]].pk
        return {**values, "certification_id": key}

    def new(self, values: Values) -> CertificationAssignment:
        """Return an assignment that is not saved yet. Raises ``InvalidField``."""
        return new_assignment(self.organization_id, _columns(values))

    def assign(self, row: CertificationAssignment, values: Values) -> Sequence[str]:
        """Set columns of an assignment; return those that differ. Raises ``InvalidField``."""
        return assign_to_assignment(row, _columns(values))

    def save_references(self, values: Sequence[Values]) -> None:
        """Create the certifications that do not exist yet, and fill blank labels and bodies."""
        self._certifications.save(one["certification"] for one in values)


def _columns(values: Values) -> Values:
    """Leave out the parts of the certification, which is another row."""
    return {name: value for name, value in values.items() if name != "certification"}
