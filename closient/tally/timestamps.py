"""When rows were created and last changed, by the database's clock.

Both times of a new row are equal. A trigger advances `updated_at` when a column that users edit
changes, also in SQL and bulk writes; it never goes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.db.models.signals import post_save

from closient.db.triggers import UnconditionalTrigger

_update_of: Any = pgtrigger.UpdateOf


if TYPE_CHECKING:
    _DateTimeField = models.DateTimeField[Any, Any]
else:
    _DateTimeField = models.DateTimeField


class UpdatedAtField(_DateTimeField):
    """When the row last changed; maintained by the database, never written by a save.

    After a save, the next access loads the value.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"db_default": Now(), "editable": False, **kwargs})

    def contribute_to_class(self, cls: Any, name: str, *args: Any, **kwargs: Any) -> None:
        """Drop the instance's value after each save."""
        super().contribute_to_class(cls, name, *args, **kwargs)
        if not cls._meta.abstract:
            post_save.connect(self._drop_value, sender=cls)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Return the value for an insert; for an update the column itself, which keeps it."""
        return super().pre_save(model_instance, add) if add else F(self.attname)

    def _drop_value(self, instance: models.Model, *, created: bool, raw: bool, **_: Any) -> None:
        if not (created or raw):
            instance.__dict__.pop(self.attname, None)


class TouchTrigger(UnconditionalTrigger):
    """Advances ``updated_at`` when one of the columns changes."""

    def __init__(self, *columns: str) -> None:
        compared = [", ".join(f'{row}."{column}"' for column in columns) for row in ("OLD", "NEW")]
        super().__init__(
            name="touch",
            level=pgtrigger.Row,
            when=pgtrigger.Before,
            operation=_update_of(*columns),
            condition=pgtrigger.Condition(f"(({compared[0]}) IS DISTINCT FROM ({compared[1]}))"),
            func="""
                NEW.updated_at := greatest(
                    statement_timestamp(), OLD.updated_at + interval '1 microsecond', NEW.created_at
                );
                RETURN NEW;
            """,
        )


def created_before_updated(name: str) -> models.CheckConstraint:
    """Return the constraint that ``updated_at`` is not before ``created_at``."""
    return models.CheckConstraint(condition=Q(updated_at__gte=F("created_at")), name=name)
