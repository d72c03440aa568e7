"""The environment of the tests, set before the settings are read (a pytest plugin)."""

from __future__ import annotations

import os

# As in production, whatever a .env for trying says; but the test client speaks plain HTTP.
os.environ["DEBUG"] = "0"
os.environ.setdefault("HTTPS", "0")
# Settings refuse to start without a key; tests need no secret one.
os.environ.setdefault("SECRET_KEY", "only for tests")
os.environ.setdefault("ALLOW_EMBEDDED_POSTGRES", "1")
