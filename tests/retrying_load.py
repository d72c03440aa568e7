"""Clients that write and read while servers fail over or an organization moves."""

from __future__ import annotations

import http.client
import threading
import time

from tests.clusters import Reply, Tenant
from tests.factories import gtin


class Load:
    """Clients that write products and read the stats until they are stopped.

    Each write is repeated with its key until it is acknowledged.
    """

    def __init__(self, tenant: Tenant, port: int, *, seeded: int = 0) -> None:
        self.tenant = tenant
        self.seeded = seeded
        self.port = port
        self.acknowledged: list[str] = []
        self.unexpected: list[str] = []
        self.stopped = threading.Event()
        self.unavailable = 0
        self.last_failure = 0.0

    def write(self, writer: int) -> None:
        items = f"{self.tenant.api}/trade-items/{self.tenant.organization}"
        number = 0
        while not self.stopped.is_set():
            code = gtin(writer * 1_000_000 + number)
            body = {"gtin": code, "name": "New"}
            key = {"Idempotency-Key": f"writer-{writer}-{number}"}
            while not self._is_done(201, items, body, **key):
                if self.unexpected:
                    return
            self.acknowledged.append(code)
            number += 1

    def read(self) -> None:
        """Read the stats; each must contain all writes that were acknowledged before."""
        while not self.stopped.is_set():
            known = len(self.acknowledged)
            reply = self._reply(200, self.tenant.stats)
            if reply is not None and reply.json["total_products"] < self.seeded + known:
                self.unexpected.append(f"{reply.body!r} after {known} writes")

    def _is_done(self, status: int, path: str, body: object = None, **headers: str) -> bool:
        return self._reply(status, path, body, **headers) is not None

    def _reply(self, status: int, path: str, body: object = None, **headers: str) -> Reply | None:
        try:
            reply = self.tenant.request(self.port, path, body, **headers)
        except (OSError, http.client.HTTPException) as error:
            self.unexpected.append(repr(error))
            return None
        if reply.status == status:
            return reply
        # 409: the attempt before still runs, or it was interrupted.
        if reply.status == 503 or (reply.status == 409 and reply.json["retryable"]):
            self.unavailable += 1
            self.last_failure = time.monotonic()
        else:
            self.unexpected.append(f"{reply.status} {reply.body!r}")
        return None
