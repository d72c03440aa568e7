"""What every exercise in Python needs: where the service is, the key, and a picture."""

from __future__ import annotations

import base64
import os

URL = os.environ["DASHBOARD_URL"]
KEY = os.environ["DASHBOARD_KEY"]
ORGANIZATION = os.environ["DASHBOARD_ORGANIZATION"]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
