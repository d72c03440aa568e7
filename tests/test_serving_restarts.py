"""Restarts under load: no request is lost, and no write happens twice."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from catalog.models import Product
from closient.accounts.models import Organization
from tests.clients import NO_LIMIT, key_of, products_path, stats_path
from tests.counting import assert_exact
from tests.factories import OrganizationFactory, gtin
from tests.nginx import proxying
from tests.test_serving_processes import Running, running, start
from tests.wire import TIMEOUT_SECONDS, connect

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

CLIENTS = 8
# The server trusts the clients of these tests as it trusts nginx.
BEHIND = {"TRUSTED_PROXIES": "127.0.0.1/32"}


class Load:
    """Clients that write and read over connections that they keep, and never retry.

    Each write creates a product; every fourth request is a read. Sends the next request as soon as
    the response is there.
    """

    def __init__(self, port: int) -> None:
        self.organization: Organization = OrganizationFactory()
        limits = {"limit_per_minute": NO_LIMIT, "limit_per_day": NO_LIMIT}
        self._headers = {
            "X-API-Key": key_of(self.organization, role="manager", **limits),
            "Content-Type": "application/json",
            "Host": "localhost",
        }
        self._port = port
        self._numbers = itertools.count()
        self._stop = threading.Event()
        # Responses by status, and errors by type.
        self.outcomes: Counter[object] = Counter()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, more: int) -> None:
        """Wait until a number of further requests have ended."""
        target = self.outcomes.total() + more
        deadline = time.monotonic() + TIMEOUT_SECONDS * 2
        while self.outcomes.total() < target:
            assert time.monotonic() < deadline, self.outcomes
            self._stop.wait(0.05)

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        while not self._stop.is_set():
            number = next(self._numbers)
            try:
                self._request(connection, number)
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[type(error)] += 1
                connection.close()
        connection.close()

    def _request(self, connection: http.client.HTTPConnection, number: int) -> None:
        if number % 4:
            body: Any = json.dumps({"gtin": gtin(number), "name": f"Product {number}"})
            connection.request("POST", products_path(self.organization), body, self._headers)
        else:
            connection.request("GET", stats_path(self.organization), headers=self._headers)
        response = connection.getresponse()
        response.read()
        self.outcomes[response.status] += 1


@contextmanager
def loading(port: int) -> Iterator[Load]:
    """Run clients for a block."""
    load = Load(port)
    load.start()
    try:
        yield load
    finally:
        load.end()


def assert_nothing_lost_or_doubled(load: Load, at_least: int) -> None:
    """Check that each request got its response and each write happened once."""
    assert set(load.outcomes) == {200, 201}, load.outcomes
    assert load.outcomes.total() >= at_least
    assert_each_write_happened_once(load)


def assert_each_write_happened_once(load: Load) -> None:
    rows = Product.objects.filter(organization=load.organization).count()
    # A doubled write would have got 409, because its GTIN exists.
    assert (rows, load.outcomes[409]) == (load.outcomes[201], 0)
    assert_exact(load.organization)


def hang_up(server: Running) -> None:
    """Restart the workers as `systemctl reload` does, and wait until all of them are new."""
    before = server.workers()
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + TIMEOUT_SECONDS * 2
    while server.workers() & before or len(server.workers()) < len(before):
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


@pytest.mark.parametrize("through", ["nginx"])
def test_reload_loses_no_request(transactional_db: None, tmp_path: Path, through: str) -> None:
    with running(WEB_CONCURRENCY="2", **BEHIND) as server:
        if through == "directly":
            with loading(server.port) as load:
                _reload_three_times(server, load)
        else:
            with proxying(tmp_path, server.port) as proxy, loading(proxy.port) as load:
                _reload_three_times(server, load)
    assert_nothing_lost_or_doubled(load, at_least=2000)


def _reload_three_times(server: Running, load: Load) -> None:
    load.wait_for(500)
    for _ in range(3):
        hang_up(server)
        load.wait_for(500)


@pytest.mark.parametrize("through", ["nginx"])
@pytest.mark.campaign
def test_restart_with_a_socket_of_systemd_loses_no_request(
    transactional_db: None, tmp_path: Path, through: str
) -> None:
    with contextlib.ExitStack() as stack:
        # As systemd does, this process holds the socket while the service restarts.
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        server = start(listener, WEB_CONCURRENCY="2", **BEHIND)
        port = server.port
        if through == "nginx":
            port = stack.enter_context(proxying(tmp_path, port)).port
        with loading(port) as load:
            for _ in range(3):
                load.wait_for(300)
                server.stop()
                assert server.process.returncode == 0
                server = start(listener, WEB_CONCURRENCY="2", **BEHIND)
            load.wait_for(300)
        server.stop()
    assert_nothing_lost_or_doubled(load, at_least=1200)


@pytest.mark.campaign
def test_replacing_one_server_after_the_other_loses_no_request(
    transactional_db: None, tmp_path: Path
) -> None:
    with (
        running(**BEHIND) as first,
        running(**BEHIND) as second,
        proxying(tmp_path, first.port, second.port) as proxy,
        loading(proxy.port) as load,
    ):
        load.wait_for(500)
        # As for the containers of docs/deploying.md: the old one stops while the new one serves.
        first.stop()
        assert first.process.returncode == 0
        load.wait_for(1000)
    assert_nothing_lost_or_doubled(load, at_least=1500)


def test_stop_under_load_finishes_started_requests(transactional_db: None) -> None:
    with running(WEB_CONCURRENCY="2", **BEHIND) as server, loading(server.port) as load:
        load.wait_for(1000)
        server.stop()
        assert server.process.returncode == 0
        load.wait_for(100)
    # Each started request got its response; after that, nothing listens.
    assert set(load.outcomes) == {200, 201, ConnectionRefusedError}, load.outcomes
    assert_each_write_happened_once(load)


def test_connections_that_wait_for_a_stopping_server_are_served(transactional_db: None) -> None:
    with running() as server:
        (worker,) = server.workers()
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        # The worker cannot accept them before it learns that it has to stop.
        process = psutil.Process(worker)
        process.suspend()
        peers = [connect(server.port) for _ in range(20)]
        for peer in peers:
            peer.sendall(request)
        server.process.terminate()
        process.send_signal(signal.SIGTERM)
        process.resume()
        received = [peer.recv(1000) for peer in peers]
        assert all(each.startswith(b"HTTP/1.1 200 OK\r\n") for each in received)
        for peer in peers:
            peer.close()
        server.stop()
