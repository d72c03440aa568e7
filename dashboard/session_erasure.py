"""Removes users and organizations from stored browser sessions, whose data SQL cannot search."""

from __future__ import annotations

import importlib
from collections.abc import Collection

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session


def forget_in_sessions(*, users: Collection[str] = (), values: Collection[str] = ()) -> None:
    """Delete the sessions of users, by id, and remove other entries with one of the values."""
    store = importlib.import_module(settings.SESSION_ENGINE).SessionStore
    for row in Session.objects.iterator():
        data = row.get_decoded()
        if data.get(SESSION_KEY) in users:
            store(row.session_key).delete()
        elif found := [name for name, value in data.items() if value in values]:
            session = store(row.session_key)
            for name in found:
                session.pop(name, None)
            session.save()
