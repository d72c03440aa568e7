"""When rows were created and last changed: by the database's clock, whatever writes them.

`created_at` and `updated_at` of a new row are the same moment. A trigger moves `updated_at` when
one of the columns that people edit changes, in SQL and bulk writes too, and never back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.db.models.signals import post_save

from closient.tally.triggers import UnconditionalTrigger

_update_of: Any = pgtrigger.UpdateOf


if TYPE_CHECKING:
    _DateTimeField = models.DateTimeField[Any, Any]
else:
    _DateTimeField = models.DateTimeField


class UpdatedAtField(_DateTimeField):
    """When the row last changed, kept by the database: no save writes it.

    After a save the value is loaded again when it is read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"db_default": Now(), "editable": False, **kwargs})

    def contribute_to_class(self, cls: Any, name: str, *args: Any, **kwargs: Any) -> None:
        """Forget the value after each save of an instance."""
        super().contribute_to_class(cls, name, *args, **kwargs)
        if not cls._meta.abstract:
            post_save.connect(self._forget, sender=cls)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Return the value for an insert, or the column itself, which an update keeps."""
        return super().pre_save(model_instance, add) if add else F(self.attname)

    def _forget(self, instance: models.Model, *, created: bool, raw: bool, **_: Any) -> None:
        if not (created or raw):
            instance.__dict__.pop(self.attname, None)


class TouchTrigger(UnconditionalTrigger):
    """Moves ``updated_at`` when one of some columns changes."""

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
    """Return the constraint that no row was changed before it was created."""
    return models.CheckConstraint(condition=Q(updated_at__gte=F("created_at")), name=name)
