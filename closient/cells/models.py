"""Where organizations live, and which ones a database refuses to write."""

from __future__ import annotations

from typing import Any

from django.db import models


class PlacementState(models.TextChoices):
    """What is happening to an organization that has a placement."""

    HERE = "here", "in its cell"
    MOVING = "moving", "is copied from its cell to the other one"
    LEAVING = "leaving", "has moved; its rows in the other one are being deleted"


class Placement(models.Model):
    """The cell of an organization; without a row it is the default database.

    Only the rows in the directory count, and only ``move_organization`` writes them.
    """

    # An organization of another cell cannot be deleted here alone.
    organization: Any = models.OneToOneField(
        "accounts.Organization", on_delete=models.DO_NOTHING, primary_key=True, related_name="+"
    )
    cell = models.CharField(max_length=31)
    state = models.CharField(
        max_length=7, choices=PlacementState, default=PlacementState.HERE, db_index=False
    )
    other = models.CharField(
        max_length=31, blank=True, help_text="The other cell of a move; blank if there is none."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=PlacementState.values), name="cells_placement_state"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} in {self.cell}"


class Fence(models.Model):
    """An organization whose rows this database does not write: it moves, or has moved away."""

    organization_id = models.UUIDField(primary_key=True)

    def __str__(self) -> str:
        return str(self.organization_id)
