"""The column ``updated_by``: who changed a row last."""

from __future__ import annotations

from typing import Any

from django.db import models

from closient.accounts.actors import current_actor
from closient.changes.models import ACTOR_LENGTH


class ActorField(models.CharField):  # type: ignore[type-arg]  # not generic at run time
    """The user, API key or import that saved the row last; set on each save."""

    # Like dates with this attribute, it is written with every save of single columns.
    auto_now = True

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        """Return the current actor, and set it on the instance."""
        actor = current_actor()
        setattr(model_instance, self.attname, actor)
        return actor


def updated_by() -> Any:
    """Return the field for who changed the row last; empty if unknown."""
    return ActorField(
        max_length=ACTOR_LENGTH, blank=True, default="", db_default="", editable=False
    )
