"""One log line for each request, when its response has been passed on."""

from __future__ import annotations

import logging

from closient.db.ids import format_id
from closient.http.logs import FIELDS
from closient.http.observation import Observation

logger = logging.getLogger("closient.access")


def write(observation: Observation, method: str, status: int, seconds: float, size: int) -> None:
    """Log a request: as a sentence, and as fields of the JSON format."""
    milliseconds = round(seconds * 1000, 2)
    organization_id = observation.organization_id
    fields = {
        "method": method,
        "path": observation.path,
        "route": observation.route,
        "status": status,
        "milliseconds": milliseconds,
        "bytes": size,
        "client": observation.client,
        "organization_id": organization_id and format_id(organization_id),
        "key_prefix": observation.key_prefix,
        "user_id": observation.user_id,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    logger.info(
        "%s %s %s %.2f ms, %s bytes, route %s",
        method[:20],
        # Nothing from a client can begin a new line.
        observation.path[:1000].encode("unicode_escape").decode(),
        status,
        milliseconds,
        size,
        observation.route,
        extra={FIELDS: fields},
    )
