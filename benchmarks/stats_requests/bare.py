"""A Django view that runs the statement behind the stats with a raw cursor, and does nothing else.

No authentication, no rate limit, no middleware: the baseline for the service. Served by
gunicorn with the service's own configuration; `BARE_STATEMENT` holds the statement as JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any

import environ
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path

from closient import settings as service

settings.configure(
    ACCESS_LOG=False,
    METRICS_BIND="",
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": environ.Env().db_url("DATABASE_URL") | {"CONN_MAX_AGE": 600}},
    MIDDLEWARE=[],
    ROOT_URLCONF=__name__,
    SECRET_KEY="only for this benchmark",  # noqa: S106 - signs nothing
    # The web server's limits.
    **{name: value for name, value in vars(service).items() if name.startswith("WEB_")},
)

_STATEMENT: dict[str, Any] = json.loads(os.environ["BARE_STATEMENT"])
_PARAMETERS = _STATEMENT["parameters"] | {
    "percentages": bytes.fromhex(_STATEMENT["parameters"]["percentages"])
}


def stats(request: HttpRequest) -> JsonResponse:
    """Return the seven numbers."""
    with connection.cursor() as cursor:
        cursor.execute(_STATEMENT["sql"], _PARAMETERS)
        names = [column.name for column in cursor.description]
        response = JsonResponse(dict(zip(names, cursor.fetchone(), strict=True)))
    # As Django's middleware does, so that the connection stays open.
    response["Content-Length"] = len(response.content)
    return response


urlpatterns = [path("stats", stats)]
application = get_wsgi_application()
