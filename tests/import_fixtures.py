"""Fixtures and helpers of the tests of imports and sources: people, a server, a worker, runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from catalog.models import ImportRun
from closient.accounts.models import Membership, Organization
from dashboard.imports.runs import actions
from dashboard.imports.runs.importer import work_on_next
from dashboard.imports.sources.worker import fetch_next
from tests.factories import MembershipFactory
from tests.feed_server import FeedServer, allow_loopback, feed_server
from tests.importing import EAN, UPC

TWO = f"gtin,name,Price\n{EAN},a,1\n{UPC},b,2\n"


@pytest.fixture
def editor(organization: Organization) -> Membership:
    """The membership of an editor of the organization."""
    # Every organization needs an owner (a database constraint).
    MembershipFactory(organization=organization, role="owner")
    member: Membership = MembershipFactory.create(
        organization=organization, role="editor", user__email="ed@example.com"
    )
    return member


@pytest.fixture
def as_editor(client: Client, editor: Membership) -> Client:
    """A browser in which the editor is logged in."""
    client.force_login(editor.user)
    return client


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedServer]:
    """A server that sources may lead to."""
    allow_loopback(monkeypatch)
    with feed_server() as served:
        yield served


@pytest.fixture
def worker() -> Iterator[None]:
    """A worker that fetches and imports during the test."""
    stop = threading.Event()

    def run() -> None:
        try:
            while not stop.is_set():
                if not (fetch_next(stop) or work_on_next(stop)):
                    stop.wait(0.05)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()


def work() -> None:
    """Check and import all that is queued."""
    while work_on_next(threading.Event()):
        pass


def address(organization: Organization, run: ImportRun | None = None, step: str = "") -> str:
    """The page of imports, or a page of an import."""
    if run is None:
        return reverse("page-imports", args=[organization.id])
    return reverse(f"page-import{step}", args=[organization.id, run.id])


def uploaded(organization: Organization, text: str = TWO, name: str = "c.csv") -> ImportRun:
    """An import that waits for its check."""
    return actions.start(organization, None, ContentFile(text.encode()), name)


def checked(organization: Organization, text: str = TWO, **values: Any) -> ImportRun:
    """An import after its check, and then with these values."""
    run = uploaded(organization, text)
    work()
    ImportRun.objects.filter(pk=run.pk).update(**values)
    return actions.refresh(run)


def shown(page: Page, state: str) -> None:
    """Wait until the page of an import shows a state without a reload."""
    expect(page.locator("#import")).to_have_attribute("data-state", state, timeout=30_000)


def counts(page: Page) -> dict[str, str]:
    """The counts that the page of an import shows, by name."""
    found = page.locator("[data-count]")
    return {str(e.get_attribute("data-count")): e.inner_text() for e in found.all()}
