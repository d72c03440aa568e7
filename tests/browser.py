"""A real browser for the tests of pages: Chromium, headless, that may talk to this machine only.

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
# Milliseconds that a page has for what it is to do. Some ask again every three seconds only, and a
# busy machine takes its time: what fails waits this long, what works does not.
TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)
# How Chromium and htmx say that an answer was of the kind 4xx.
_REFUSED = (
    "Failed to load resource: the server responded with a status of 4",
    "Response Status Error Code 4",
    # A test that takes the page offline.
    "Failed to load resource: net::ERR_INTERNET_DISCONNECTED",
    "htmx:afterRequest",
    "htmx:sendError",
)


class AwaitedServer(ThreadedWSGIServer):
    """A server that can be waited for: what it still does for a page must not meet the next test.

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
        """Wait until every connection that was made has been served and closed."""
        # They are taken in the order in which they come: after this one no earlier one waits.
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
    """The service for browsers; a test that uses it by :func:`visit` ends when it is idle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiveServerThread, "server_class", AwaitedServer)
        server = LiveServer("localhost")
    yield server
    server.stop()


# Its event loop runs in the thread of the tests as long as it lives: Django would take every query
# for one inside a coroutine, and tests of other modules could run no loop of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser, one for all tests of a module."""
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
    """Return a page of a new visitor: ``visit(user, "/dashboard/", width=390, dark=True)``.

    Without a user nobody is logged in.
    """
    complaints: list[str] = []
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
        watch(page, live_server.url, complaints)
        page.goto(path)
        return page

    yield new_page
    for context in contexts:
        context.close()
    server = live_server.thread.httpd
    assert isinstance(server, AwaitedServer)
    server.wait_until_idle()
    assert complaints == []


def watch(page: Page, own: str, complaints: list[str]) -> None:
    """Write down what must not happen on a page."""
    own_host = urlsplit(own).netloc

    def foreign(address: str) -> bool:
        parts = urlsplit(address)
        return parts.scheme not in ("data", "blob") and parts.netloc != own_host

    def console(text: str, address: str) -> None:
        # A refusal that the test provokes is told by its answer, and once more by each of these.
        if not text.startswith(_REFUSED):
            complaints.append(f"console on {address}: {text}")

    page.on(
        "console",
        lambda m: console(m.text, page.url) if m.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda e: complaints.append(f"error on {page.url}: {e}"))
    page.on("request", lambda r: complaints.append(f"asked {r.url}") if foreign(r.url) else None)


def log_in(page: Page, user: User, password: str = PASSWORD) -> None:
    """Log in as a person does."""
    page.goto("/account/login")
    page.get_by_label("Email address").fill(user.email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/dashboard/**")


def begin_session(context: BrowserContext, user: User, url: str) -> None:
    """Give the browser the cookie that logging in would give it, without the form."""
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": url}])


def assert_accessible(page: Page) -> None:
    """Assert that axe finds nothing serious on a page as it is now."""
    found = Axe().run(page).response["violations"]
    serious = [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
    assert serious == []


def assert_looks_right(page: Page, *, widths: Sequence[int] = (360, 1920)) -> None:
    """Assert that a page fits at each width, and that axe finds nothing serious.

    axe looks at the narrowest in the dark and at the widest in light.
    """
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert_fits(page)
        if width in (widths[0], widths[-1]):
            page.emulate_media(color_scheme="dark" if width == widths[0] else "light")
            assert_accessible(page)


def assert_fits(page: Page) -> None:
    """Assert that a page is no wider than the window, and that no table of it is cut off."""
    wider = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wider <= 0
    cut_off = """tables => tables.filter(table => table.scrollWidth > table.clientWidth)
        .map(table => table.textContent.slice(0, 100))"""
    assert page.locator(".table-wrap").evaluate_all(cut_off) == []
