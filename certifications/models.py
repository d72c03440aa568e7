"""Certifications, and their assignments to products with validity dates."""

from __future__ import annotations

import datetime
from typing import Self
from uuid import UUID

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, Upper

from catalog.models import product_fk, updated_by
from closient.accounts.models import Organization
from closient.changes.triggers import recorders
from closient.db.fields import normalize_fields, organization_fk
from closient.db.ids import uuid7
from closient.db.tenancy import TenantForeignKey
from closient.tally import triggers as tally
from closient.tally.declarations import Account, CoverageColumn
from closient.tally.timestamps import TouchTrigger, UpdatedAtField, created_before_updated
from closient.text.fields import NormalCharField, NormalJSONField
from closient.text.metadata import clean_metadata
from closient.text.urls import clean_url

# The dates that Python supports: PostgreSQL also has infinity and years BC.
REAL_DATES = (datetime.date.min, datetime.date.max)

# How many days ahead a certificate counts as expiring, unless a request says otherwise.
EXPIRING_WITHIN = 60
CODE_LENGTH = 64


class Certification(models.Model):
    """A certification that products can have, such as ``organic``."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("certifications")
    code = NormalCharField(max_length=CODE_LENGTH)
    label = NormalCharField(max_length=255, blank=True)
    body = NormalCharField(max_length=255, blank=True, help_text="The certification body.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["code", "id"]
        constraints = [
            TenantForeignKey(
                name="certifications_certification_organization_fk",
                field="organization",
            ),
            models.UniqueConstraint(
                fields=["organization", "code"],
                name="certifications_certification_code_unique",
                violation_error_message="The organization has this certification code already.",
            ),
            # What composite foreign keys refer to.
            models.UniqueConstraint(
                fields=["organization", "id"],
                name="certifications_certification_tenant",
            ),
            models.CheckConstraint(
                condition=~Q(code=""), name="certifications_certification_code_filled"
            ),
        ]

    def __str__(self) -> str:
        return str(self.label or self.code)


class VerificationStatus(models.TextChoices):
    """Whether the certificate was verified; does not affect its validity."""

    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    EXPIRED = "expired"


def expires_within(days: int, today: datetime.date) -> Q:
    """Return the condition for assignments that expire after today, within a number of days."""
    return Q(expiry_date__gt=today, expiry_date__lte=today + datetime.timedelta(days=days))


def has_expired(today: datetime.date) -> Q:
    """Return the condition for assignments that expired before today."""
    return Q(expiry_date__lt=today)


class CertificationAssignmentQuerySet(models.QuerySet["CertificationAssignment"]):
    """Reads of certification assignments."""

    def of(self, organization: Organization | UUID) -> Self:
        """Return the assignments of one organization."""
        return self.filter(organization=organization)

    def valid_on(self, day: datetime.date) -> Self:
        """Return the assignments valid on a day; both dates are inclusive, empty ones are open."""
        return self.filter(
            Q(valid_from=None) | Q(valid_from__lte=day),
            Q(expiry_date=None) | Q(expiry_date__gte=day),
        )

    def expiring_within(self, days: int, today: datetime.date) -> Self:
        """Return the assignments that expire after today, within the given number of days."""
        return self.filter(expires_within(days, today))

    def with_names(self) -> Self:
        """Return the assignments with their certification, and their product's GTIN and name."""
        own = [field.name for field in self.model._meta.concrete_fields]
        certification = [f"certification__{name}" for name in ("code", "label", "body")]
        return self.select_related("product", "certification").only(
            *own, "product__gtin", "product__name", *certification
        )


class CertificationAssignment(models.Model):
    """A product's certificate: valid on day d when valid_from <= d <= expiry_date."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("certification_assignments")
    product = product_fk("certification_assignments")
    certification = models.ForeignKey(
        Certification,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="assignments",
    )
    certificate_number = NormalCharField(max_length=100, blank=True)
    issuing_body = NormalCharField(
        max_length=255, blank=True, help_text="Who issued the certificate."
    )
    valid_from = models.DateField(
        null=True, blank=True, help_text="Leave empty if there is no start date."
    )
    expiry_date = models.DateField(
        null=True, blank=True, help_text="The last valid day; leave empty if it never expires."
    )
    verification_status = models.CharField(
        max_length=16, choices=VerificationStatus, default=VerificationStatus.UNVERIFIED
    )
    verification_url = models.URLField(
        "verification URL",
        max_length=1000,
        blank=True,
        help_text="Where it can be verified, http or https.",
    )
    metadata = NormalJSONField(default=dict, blank=True, help_text="Your own keys and texts.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = UpdatedAtField()
    updated_by = updated_by()

    objects = CertificationAssignmentQuerySet.as_manager()

    class Meta:
        ordering = ["expiry_date", "id"]
        indexes = [
            # By expiry within one organization: admin and API lists.
            models.Index(
                fields=["organization", "expiry_date", "id"],
                include=["verification_status"],
                name="certifications_assignment_exp",
            ),
            # The cascade from certifications; lists by certification.
            models.Index(
                fields=["organization", "certification", "expiry_date", "id"],
                include=["verification_status"],
                name="certifications_assignment_cert",
            ),
            # By last change: the change feed, and lists of what has changed since a time.
            models.Index(
                fields=["organization", "updated_at", "id"],
                name="certifications_assignment_chg",
            ),
            # Search by the beginning of the certificate number.
            models.Index(
                OpClass(Upper("certificate_number"), name="text_pattern_ops"),
                name="certifications_assignment_no",
            ),
        ]
        constraints = [
            created_before_updated("certifications_assignment_created_before_updated"),
            TenantForeignKey(name="certifications_assignment_product_fk", field="product"),
            TenantForeignKey(
                name="certifications_assignment_certification_fk", field="certification"
            ),
            # What composite foreign keys refer to.
            models.UniqueConstraint(
                fields=["organization", "id"], name="certifications_assignment_tenant"
            ),
            # Also a product's certificates (the days it is certified), and the cascade from
            # products.
            models.UniqueConstraint(
                fields=["organization", "product", "certification", "certificate_number"],
                name="certifications_assignment_unique",
                violation_error_message=(
                    "The product has this certification with this certificate number already."
                ),
            ),
            models.CheckConstraint(
                condition=Q(verification_status__in=VerificationStatus.values),
                name="certifications_assignment_verification_status",
            ),
            models.CheckConstraint(
                condition=Q(valid_from=None)
                | Q(expiry_date=None)
                | Q(expiry_date__gte=F("valid_from")),
                name="certifications_assignment_dates_in_order",
                violation_error_message="expiry_date cannot be before valid_from.",
            ),
            models.CheckConstraint(
                condition=(Q(valid_from=None) | Q(valid_from__range=REAL_DATES))
                & (Q(expiry_date=None) | Q(expiry_date__range=REAL_DATES)),
                name="certifications_assignment_real_dates",
            ),
        ]
        triggers = (
            TouchTrigger(
                "organization_id",
                "product_id",
                "certification_id",
                "certificate_number",
                "issuing_body",
                "valid_from",
                "expiry_date",
                "verification_status",
                "verification_url",
                "metadata",
            ),
            *tally.triggers(
                CoverageColumn(
                    "product", "certified_during", starts="valid_from", ends="expiry_date"
                ),
                Account("certification_expiry", effective_on="expiry_date"),
            ),
            *recorders(
                "certification",
                columns=(
                    "certification_id",
                    "certificate_number",
                    "issuing_body",
                    "valid_from",
                    "expiry_date",
                    "verification_status",
                    "verification_url",
                    "metadata",
                ),
            ),
        )

    def __str__(self) -> str:
        return f"{self.certificate_number or self.certification_id} until {self.expiry_date or '…'}"

    def clean(self) -> None:
        """Normalize the URL and the metadata. Raises ``ValidationError``."""
        normalize_fields(self, verification_url=clean_url, metadata=clean_metadata)

    def is_active(self, today: datetime.date) -> bool:
        """Return whether the certificate is valid today."""
        return (self.valid_from is None or self.valid_from <= today) and (
            self.expiry_date is None or today <= self.expiry_date
        )


class CertificateAttachmentQuerySet(models.QuerySet["CertificateAttachment"]):
    """Queries of attachments."""

    def of_assignment(self, assignment: CertificationAssignment) -> Self:
        """Return the attachments of one certificate."""
        return self.filter(organization=assignment.organization_id, assignment=assignment.pk)


class CertificateAttachment(models.Model):
    """A file that belongs to a certificate: a PDF or a picture. It does not change."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = organization_fk("certificate_attachments")
    assignment = models.ForeignKey(
        CertificationAssignment,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="attachments",
    )
    file = models.FileField(upload_to="certificates/%Y/%m/")
    name = NormalCharField(max_length=255, help_text="The name under which it is downloaded.")
    media_type = models.CharField(max_length=50)
    size = models.PositiveIntegerField(help_text="In bytes.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CertificateAttachmentQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [
            # The attachments of a certificate in order; the cascade from certificates.
            models.Index(
                fields=["organization", "assignment", "id"], name="certifications_attachment_of"
            ),
        ]
        constraints = [
            TenantForeignKey(name="certifications_attachment_assignment_fk", field="assignment"),
        ]

    def __str__(self) -> str:
        return str(self.name)
