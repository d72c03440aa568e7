"""Decoding of uploaded pictures: one at a time for each organization."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from catalog.images.validation import NoRoom, Picture, read_picture
from closient.db.locks import try_lock_until_commit


def decode_for(organization_id: UUID, file: Any) -> Picture:
    """Return what is stored of a file that was uploaded for an organization.

    Never waits: raises :class:`NoRoom` while another picture of the organization is decoded, by
    whatever process, and where this process decodes as many as it may. Raises
    :class:`catalog.images.validation.UnfitImage`.
    """
    with transaction.atomic():
        if not try_lock_until_commit(f"picture of {organization_id}"):
            raise NoRoom
        return read_picture(file, file.size or 0)
