"""Headless Chromium for the tests of pages, restricted to this machine.

``visit`` gives pages that are watched: an error on the console, a violation of the content security
policy or a request to another host fails the test that caused it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer
from django.test import Client
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from closient.accounts.models import User
from tests import programs

PASSWORD = "correct horse"  # what UserFactory gives
# The milliseconds to wait for a page. Some poll only every three seconds, and a busy machine is
# slow. Only failing tests wait this long.
TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)
# The console messages of Chromium and htmx about 4xx responses.
_EXPECTED_ERRORS = (
    "Failed to load resource: the server responded with a status of 4",
    "Response Status Error Code 4",
    # A test that takes the page offline.
    "Failed to load resource: net::ERR_INTERNET_DISCONNECTED",
    "htmx:afterRequest",
    "htmx:sendError",
)


class AwaitedServer(ThreadedWSGIServer):
    """A server whose end of work can be awaited, so that no request overlaps with the next test.

    A page that is closed leaves requests behind, of its clock for one. They would hold locks while
    the tables are emptied, and find no database afterwards.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open = 0
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._count(+1)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        try:
            super().shutdown_request(request)
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._changed:
            self._open += step
            self._changed.notify_all()

    def wait_until_idle(self) -> None:
        """Wait until all connections are served and closed."""
        # Connections are accepted in order: when this one is, no earlier one is waiting.
        with socket.create_connection(
            self.socket.getsockname()[:2], timeout=TIMEOUT_MS / 1000
        ) as last:
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open, timeout=TIMEOUT_MS / 1000):
                pytest.fail(f"{self._open} connections to the live server are still open")


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    """The service for browsers; tests that use :func:`visit` end when it is idle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveServerThread, "server_class", AwaitedServer)
        server = LiveServer("localhost")
    yield server
    server.stop()


# Its event loop runs in the thread of the tests: Django would reject every query as running in a
# coroutine, and tests of other modules could not run their own loop.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser of all tests of a module."""
    program = programs.need("browser")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"],
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser, live_server: LiveServer) -> Iterator[Callable[..., Page]]:
    """Open a page in a new browser context: ``visit(user, "/dashboard/", width=390, dark=True)``.

    Without a user the visitor is anonymous.
    """
    errors: list[str] = []
    contexts: list[BrowserContext] = []

    def new_page(
        user: User | None, path: str, *, width: int = 1440, height: int = 900, dark: bool = False
    ) -> Page:
        context = chromium.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        if user is not None:
            begin_session(context, user, live_server.url)
        page = context.new_page()
        watch(page, live_server.url, errors)
        page.goto(path)
        return page

    yield new_page
    for context in contexts:
        context.close()
    server = live_server.thread.httpd
    assert isinstance(server, AwaitedServer)
    server.wait_until_idle()
    assert errors == []


def watch(page: Page, own: str, errors: list[str]) -> None:
    """Collect console errors and requests to other hosts."""
    own_host = urlsplit(own).netloc

    def foreign(address: str) -> bool:
        parts = urlsplit(address)
        return parts.scheme not in ("data", "blob") and parts.netloc != own_host

    def console(text: str, address: str) -> None:
        # Chromium and htmx also log the 4xx responses that a test expects.
        if not text.startswith(_EXPECTED_ERRORS):
            errors.append(f"console on {address}: {text}")

    page.on(
        "console",
        lambda m: console(m.text, page.url) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda e: errors.append(f"error on {page.url}: {e}"))
    page.on("request", lambda r: errors.append(f"request to {r.url}") if foreign(r.url) else None)


def log_in(page: Page, user: User, password: str = PASSWORD) -> None:
    """Log in with the login form."""
    page.goto("/account/login")
    page.get_by_label("Email address").fill(user.email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/dashboard/**")


def begin_session(context: BrowserContext, user: User, url: str) -> None:
    """Set the session cookie without the login form."""
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": url}])


def assert_accessible(page: Page) -> None:
    """Assert that axe finds no serious violations on the current page."""
    found = Axe().run(page).response["violations"]
    serious = [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert serious == []


def assert_looks_right(page: Page, *, widths: Sequence[int] = (360, 1920)) -> None:
    """Assert that a page fits at each width, and that axe finds no serious violations.

    axe looks at the narrowest in the dark and at the widest in light.
    """
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
        if width in (widths[0], widths[-1]):
            page.emulate_media(color_scheme="dark" if width == widths[0] else "light")
            assert_accessible(page)


def assert_fits(page: Page) -> None:
    """Assert that a page is not wider than the window, and that no table is cut off."""
    wider = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wider <= 0
    cut_off = """tables => tables.filter(table => table.scrollWidth > table.clientWidth)
        .map(table => table.textContent.slice(0, 100))"""
    assert page.locator(".table-wrap").evaluate_all(cut_off) == []
