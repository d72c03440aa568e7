"""Stored responses of idempotent requests."""

from __future__ import annotations

from django.db import models

from closient.db.fields import organization_fk
from closient.db.tenancy import TenantForeignKey

KEY_LENGTH = 255


class IdempotencyKey(models.Model):
    """An idempotency key of a write, and the response to it.

    The row is written in the transaction of the write, so it exists if and only if the write
    succeeded.
    """

    id = models.BigAutoField(primary_key=True)
    organization = organization_fk("+")
    caller = models.CharField(max_length=64, help_text="The id of the API key or the user.")
    operation = models.CharField(max_length=255, help_text="Method and path.")
    key = models.CharField(max_length=KEY_LENGTH)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the request, in hex.")
    status = models.PositiveSmallIntegerField(default=0)
    location = models.CharField(max_length=500, blank=True)
    body = models.TextField(
        blank=True, help_text="The response as JSON; blank if it is not stored."
    )
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            # Each write with a key looks for old keys.
            models.Index(fields=["created_at"], name="api_idempotencykey_created"),
        ]
        constraints = [
            TenantForeignKey(name="api_idempotencykey_organization_fk", field="organization"),
            models.UniqueConstraint(
                fields=["organization", "caller", "operation", "key"],
                name="api_idempotencykey_unique",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.key}"
