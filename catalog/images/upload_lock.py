"""Decoding of uploaded pictures, one at a time per organization."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from catalog.images.reencoding import DecoderBusy, Picture, read_picture
from closient.db.locks import try_lock_until_commit


def decode_for(organization_id: UUID, file: Any) -> Picture:
    """Validate a file uploaded for an organization and return the picture to store.

    Never waits: raises :class:`DecoderBusy` while any process decodes another picture of the
    organization, and when this process is already decoding as many as it may. Raises
    :class:`catalog.images.reencoding.InvalidImage`.
    """
    with transaction.atomic():
        if not try_lock_until_commit(f"picture of {organization_id}"):
            raise DecoderBusy
        return read_picture(file, file.size or 0)
