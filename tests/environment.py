"""The environment of the tests, set before the settings are read (a pytest plugin)."""

from __future__ import annotations

import os

# Settings refuse to start without a key; tests need no secret one. DEBUG stays off, as in production.
os.environ.setdefault("SECRET_KEY", "only for tests")
os.environ.setdefault("ALLOW_EMBEDDED_POSTGRES", "1")
