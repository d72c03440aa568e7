"""The clients of the soak: each repeats one kind of work until it is stopped."""

from __future__ import annotations

import http.client
import io
import json
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from catalog.gtin import check_digit

TIMEOUT_SECONDS = 60
# Seconds between two requests of a client: the service is busy, but not overloaded.
PAUSE_SECONDS = 0.02
SECONDS_BETWEEN_IMPORTS = 20
JSON = {"Content-Type": "application/json"}


class Client(threading.Thread):
    """One client with one connection; counts the statuses of its responses."""

    def __init__(
        self, name: str, port: int, stop: threading.Event, work: Callable[[Client], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.statuses: Counter[int] = Counter()
        self.problems: list[str] = []
        self.milliseconds: list[float] = []
        self.rng = random.Random(name)  # noqa: S311 - no secret
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        self._stop_event = stop
        self._work = work

    def run(self) -> None:
        """Repeat the work until the event is set; failures are kept as sentences."""
        while not self._stop_event.wait(PAUSE_SECONDS):
            try:
                self._work(self)
            except Exception as error:
                self.problems.append(f"{self.name}: {error!r}")
                self.disconnect()
                time.sleep(1)
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next request opens another one."""
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        body: Any = None,
        expected: tuple[int, ...] = (200,),
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request and return the response with its body; raises for other statuses."""
        started = time.perf_counter()
        self._connection.request(method, path, body=body, headers=headers)
        response = self._connection.getresponse()
        content = response.read()
        self.milliseconds.append((time.perf_counter() - started) * 1000)
        self.statuses[response.status] += 1
        if response.status not in expected:
            raise RuntimeError(f"{method} {path}: {response.status} {content[:200]!r}")
        return response, content


def stats_reader(organization: str, key: str) -> Callable[[Client], None]:
    """Return the work of a client that reads the stats, the forecast and the lists."""
    headers = {"X-API-Key": key}
    paths = (
        *["stats/{}"] * 8,
        "stats/{}/forecast?days=30",
        "trade-items/{}",
        "trade-items/{}?missing=images",
        "trade-items/{}?q=oat",
        "offers/{}?status=active",
        "certifications/{}?expiring_within=60",
    )

    def work(client: Client) -> None:
        path = client.rng.choice(paths).format(organization)
        client.request("GET", f"/dashboard/api/v1/{path}", headers=headers)

    return work


def writer(organization: str, key: str) -> Callable[[Client], None]:
    """Return the work of a client that creates, changes and deletes a product and its rows."""
    api = "/dashboard/api/v1"

    def work(client: Client) -> None:
        digits = f"04{client.rng.randrange(10**11):011d}"
        gtin = digits + check_digit(digits)

        def send(method: str, path: str, body: Any, *expected: int) -> Any:
            headers = {"X-API-Key": key, **JSON}
            if method == "POST":
                headers["Idempotency-Key"] = str(uuid.uuid4())
            content = None if body is None else json.dumps(body)
            _, got = client.request(
                method, f"{api}/{path}", headers=headers, body=content, expected=expected
            )
            return json.loads(got) if got else None

        item = f"trade-items/{organization}/{gtin}"
        send("POST", f"trade-items/{organization}", {"gtin": gtin, "name": "Oat soak"}, 201)
        send("PATCH", item, {"description": "Changed during the soak."}, 200)
        offer = send(
            "POST",
            f"offers/{organization}",
            {"gtin": gtin, "channel": "in_store", "retailer": "Soak"},
            201,
        )
        send("PATCH", f"offers/{organization}/{offer['id']}", {"status": "seasonal"}, 200)
        send("DELETE", item, None, 204)

    return work


def visitor(organization: str, cookies: str) -> Callable[[Client], None]:
    """Return the work of a client that visits pages and downloads an export."""
    headers = {"Cookie": cookies}
    paths = ("", "numbers", "panels", "products", "offers", "certifications", "rule")

    def work(client: Client) -> None:
        path = client.rng.choice(paths)
        client.request("GET", f"/dashboard/{organization}/{path}", headers=headers)
        if client.rng.random() < 0.02:
            client.request("GET", f"/dashboard/{organization}/products/export", headers=headers)

    return work


def importer(organization: str, cookies: str) -> Callable[[Client], None]:
    """Return the work of a client that uploads a file, imports it and waits for the result."""

    def work(client: Client) -> None:
        page = f"/dashboard/{organization}/imports"
        token = _csrf_token(client, page, cookies)
        rows = "".join(
            f"{digits}{check_digit(digits)},Oat import {client.rng.random():.6f}\n"
            for digits in (f"05{n:011d}" for n in range(2_000))
        )
        body, content_type = _form(
            {"csrfmiddlewaretoken": token}, "file", "soak.csv", f"gtin,name\n{rows}"
        )
        response, _ = client.request(
            "POST",
            page,
            headers={"Cookie": f"{cookies}; csrftoken={token}", "Content-Type": content_type},
            body=body,
            expected=(302,),
        )
        run = str(response.headers["Location"])
        _wait_for(client, run, cookies, 'data-state="checked"')
        token = _csrf_token(client, run, cookies)
        client.request(
            "POST",
            f"{run}/confirm",
            headers={
                "Cookie": f"{cookies}; csrftoken={token}",
                "Content-Type": "application/x-www-form-urlencoded",
            },
            body=urlencode({"csrfmiddlewaretoken": token}),
            expected=(302,),
        )
        _wait_for(client, run, cookies, 'data-state="done"')
        # The server closes a connection that is idle for as long.
        client.disconnect()
        time.sleep(SECONDS_BETWEEN_IMPORTS)

    return work


def _csrf_token(client: Client, path: str, cookies: str) -> str:
    _, content = client.request("GET", path, headers={"Cookie": cookies})
    found = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', content)
    assert found, f"{path} has no form"
    return found[1].decode()


def _wait_for(client: Client, path: str, cookies: str, text: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        _, content = client.request("GET", path, headers={"Cookie": cookies})
        if text.encode() in content:
            return
        time.sleep(1)
    raise TimeoutError(f"{path} does not contain {text!r}")


def _form(fields: dict[str, str], name: str, file_name: str, content: str) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    out = io.StringIO()
    for field, value in fields.items():
        out.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n')
        out.write(f"{value}\r\n")
    out.write(f"--{boundary}\r\nContent-Disposition: form-data; ")
    out.write(f'name="{name}"; filename="{file_name}"\r\nContent-Type: text/csv\r\n\r\n')
    out.write(f"{content}\r\n--{boundary}--\r\n")
    return out.getvalue().encode(), f"multipart/form-data; boundary={boundary}"
