"""Sources: fetched when due, checked, imported by themselves or not, and what is gone."""

from __future__ import annotations

import datetime
import gzip
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from catalog.models import ImportRun, ImportSource, Product, SourcedRow
from closient.accounts.models import Organization
from closient.db.transactions import run_with_retry
from closient.text.encryption import CannotDecrypt
from closient.text.validators import InvalidField
from dashboard.imports.runs import actions, files
from dashboard.imports.runs.importer import work_on_next
from dashboard.imports.sources import schedule
from dashboard.imports.sources.editing import (
    MAX_SOURCES,
    TooManySources,
    change_source,
    create_source,
    run_now,
)
from dashboard.imports.sources.fetch import HTML
from dashboard.imports.sources.states import shown_sources
from dashboard.imports.sources.worker import fetch_next
from offers.models import Offer
from tests import source_worker
from tests.counting import assert_exact
from tests.factories import ImportSourceFactory, OfferFactory, OrganizationFactory, gtin
from tests.feed_server import FeedServer, ca_file, file, status
from tests.import_fixtures import work
from tests.importing import EAN, EAN_14, UPC, UPC_14, product, stored
from tests.sessions import query, sessions
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder with the files of imports."""
    return tmp_path / "imports"


def make(organization: Organization, url: str, **values: Any) -> ImportSource:
    return run_with_retry(lambda: create_source(organization, {"url": url, **values}))


def change(source: ImportSource, **values: Any) -> ImportSource:
    def write() -> ImportSource:
        row = ImportSource.objects.select_for_update().get(pk=source.pk)
        change_source(row, values)
        return row

    return run_with_retry(write)


def fetch() -> bool:
    return fetch_next(threading.Event())


def again(source: ImportSource) -> ImportSource:
    """Fetch a source now, process its run, and return it."""
    run_now(source)
    assert fetch()
    work()
    source.refresh_from_db()
    return source


def last(source: ImportSource) -> ImportRun:
    return source.runs.latest("created_at")


def rows(*numbers: int, names: str = "p") -> str:
    return "gtin,name\n" + "".join(f"{gtin(n)},{names}{n}\n" for n in numbers)


def minutes_until(moment: datetime.datetime | None) -> float:
    assert moment is not None
    return round((moment - timezone.now()).total_seconds() / 60)


# --- The way of a file ---------------------------------------------------------------------------


def test_pasted_address_is_imported_and_then_kept_up_to_date(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(f"gtin,name\n{EAN},a\n{UPC},b\n", ETag='"v1"')
    source = make(organization, server.url(), interval_hours=6)
    assert source.name == "feeds.test"
    assert fetch()
    assert not fetch()
    run = last(source)
    assert (run.status, run.name, run.source, run.confirms_itself) == (
        "waiting",
        "feeds.test",
        source,
        True,
    )
    work()
    run.refresh_from_db()
    assert (run.status, run.created, run.gone, run.detail) == ("done", 2, 0, "")
    assert stored(organization) == [product(gtin=UPC_14, name="b"), product(gtin=EAN_14, name="a")]
    assert set(Product.objects.values_list("updated_by", flat=True)) == {""}
    source.refresh_from_db()
    assert (source.etag, source.imported_rows, source.failures) == ('"v1"', 2, 0)
    assert source.imported_columns == ["csv", "gtin -> gtin", "name -> name"]
    assert minutes_until(source.next_run_at) == 360

    # Not changed: 304, no run.
    again(source)
    assert (source.last_outcome, source.runs.count()) == ("unchanged", 1)
    assert server.requests[-1].headers["if-none-match"] == '"v1"'
    # Changed to the same content: recorded without importing.
    server.serve(f"gtin,name\n{EAN},a\n{UPC},b\n", ETag='"v2"')
    again(source)
    assert (source.last_outcome, source.runs.count()) == ("unchanged", 1)
    # Changed.
    server.serve(f"gtin,name\n{EAN},a\n{UPC},new\n", ETag='"v3"')
    again(source)
    run = last(source)
    assert (run.status, run.created, run.updated, run.unchanged) == ("done", 0, 1, 1)
    assert (source.etag, source.runs.count()) == ('"v3"', 2)
    assert Product.objects.get(gtin=UPC_14).updated_by == "import of feeds.test"
    assert_exact(organization)
    # What is imported can be fetched again, and is not kept.
    assert files.storage().listdir("")[1] == []


def test_rejected_rows_are_kept_and_the_others_imported(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(f"gtin,name\n{EAN},a\n123,b\n")
    source = make(organization, server.url())
    assert fetch()
    work()
    run = last(source)
    assert (run.status, run.created, run.rejected) == ("done", 1, 1)
    with files.open_rejects(run) as rejected:
        assert b"123,b,3," in rejected.read()
    # Sources have any name.
    for name, file_name in (("Shop", "Shop"), ("A/B", "A-B"), (".", "."), ("/", "-")):
        run.name = name
        assert files.rejects_name(run) == f"{file_name}.rejects.csv"


def test_changed_layout_of_a_source_imports_the_same_file_again(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(f"gtin,url\n{EAN},https://shop.example.com/1\n", ETag='"v1"')
    Product.objects.create(organization=organization, gtin=EAN_14)
    source = make(organization, server.url())
    assert fetch()
    work()
    change(source, retailer="Example Market")
    assert fetch()
    work()
    assert sorted(Offer.objects.values_list("retailer", flat=True)) == ["", "Example Market"]


def test_source_reads_its_files_as_its_options_say(
    organization: Organization, server: FeedServer
) -> None:
    text = f"Nummer;Was;Preis;Seite\n{EAN};a;1,50;https://s.example.com/1\n"
    server.serve(text, ETag='"v1"')
    mapping = {
        **{"Nummer": "gtin", "Was": "name", "Preis": "offer_price"},
        "Seite": "offer_url",
    }
    source = make(organization, server.url(), mapping=mapping, currency="EUR")
    assert fetch()
    work()
    assert (last(source).status, last(source).created) == ("done", 1)
    offer = Offer.objects.get()
    assert (offer.shown_price, offer.currency) == ("1.50", "EUR")
    # Another currency and mapping read the same file again, and no one is asked about them.
    change(source, currency="CHF", mapping={**mapping, "Was": "brand"})
    assert fetch()
    work()
    offer.refresh_from_db()
    assert (last(source).status, offer.currency) == ("done", "CHF")
    assert stored(organization) == [product(gtin=EAN_14, name="a", brand="a")]

    server.serve("gtin,name,brand\n" + f"{EAN},b,\n")
    change(source, mapping=None, overwrite_blank=True, skip_bad_rows=False)
    assert fetch()
    work()
    assert stored(organization) == [product(gtin=EAN_14, name="b")]
    server.serve(f"gtin,name,brand\n{EAN},c,\n123,d,\n")
    again(source)
    assert (last(source).status, last(source).detail) == (
        "checked",
        "Rejected rows: 1. Import the others without them, or cancel.",
    )
    with pytest.raises(InvalidField, match="A mapping takes the place of the layout"):
        change(source, layout="google", mapping=mapping)


# --- A source that asks --------------------------------------------------------------------------


def test_file_with_less_than_half_of_the_rows_asks(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1, 2, 3, 4, 5))
    source = make(organization, server.url(), when_gone="discontinue")
    assert fetch()
    work()
    # Half of them or more is imported.
    server.serve(rows(1, 2, 3))
    again(source)
    assert (last(source).status, last(source).gone) == ("done", 2)
    server.serve(rows(1))
    again(source)
    run = last(source)
    assert (run.status, run.detail) == (
        "checked",
        "The file has 1 row to import, less than half of the last import's 3.",
    )
    assert [str(each.state) for each in shown_sources([source])] == ["asking"]
    assert Product.objects.filter(status="discontinued").count() == 2

    # The same file does not ask twice.
    again(source)
    assert last(source).pk == run.pk
    # A newer one replaces it.
    server.serve(rows(1, 2, 3, names="new"))
    again(source)
    run.refresh_from_db()
    assert (run.status, run.detail) == (
        "cancelled",
        "The source has a newer file; nothing was imported.",
    )
    assert last(source).status == "done"

    # Confirmed by a person.
    server.serve(rows(1, names="new"))
    again(source)
    actions.confirm(last(source), skip_bad_rows=True)
    work()
    source.refresh_from_db()
    assert (last(source).status, last(source).gone, source.imported_rows) == ("done", 2, 1)
    assert Product.objects.filter(status="discontinued").count() == 4
    assert_exact(organization)


def test_canceled_file_is_not_asked_about_again(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1, 2, 3))
    source = make(organization, server.url())
    assert fetch()
    work()
    server.serve(rows(1))
    again(source)
    actions.cancel(last(source))
    again(source)
    assert (last(source).status, source.runs.count()) == ("cancelled", 2)
    assert source.last_outcome == "unchanged"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            f"gtin,name,brand\n{EAN},a,b\n",
            "The columns of the file have changed (new: brand).",
        ),
        (
            f"gtin,category\n{EAN},a\n",
            "The columns of the file have changed (no longer there: name; new: category).",
        ),
        (
            f"gtin,url\n{EAN},https://shop.example.com/1\n",
            "The layout of the file has changed from CSV to Our offers.",
        ),
        ("gtin,name\n123,a\n", "All rows were rejected."),
    ],
)
def test_changed_file_asks(
    organization: Organization, server: FeedServer, content: str, reason: str
) -> None:
    server.serve(f"gtin,name\n{EAN},a\n")
    source = make(organization, server.url())
    assert fetch()
    work()
    before = stored(organization)
    server.serve(content)
    again(source)
    assert (last(source).status, last(source).detail) == ("checked", reason)
    assert stored(organization) == before


def test_first_file_without_names_asks(organization: Organization, server: FeedServer) -> None:
    server.serve(f"gtin,brand\n{EAN},a\n")
    source = make(organization, server.url())
    assert fetch()
    work()
    assert last(source).status == "mapping"
    assert last(source).detail.startswith("No column of this file is read as the name")
    # The file that waits is not queued again; a newer one takes its place.
    again(source)
    assert source.runs.count() == 1
    server.serve(f"gtin,brand\n{EAN},b\n123,b\n")
    again(source)
    assert sorted(source.runs.values_list("status", flat=True)) == ["cancelled", "mapping"]
    actions.map_columns(last(source), {"gtin": "gtin", "brand": "brand"}, remember=True)
    work()
    # Rejected rows are still skipped.
    assert (last(source).status, last(source).rejected) == ("done", 1)
    # These columns are not asked about again.
    server.serve(f"gtin,brand\n{EAN},a\n{UPC},b\n")
    again(source)
    assert last(source).status == "done"


def test_file_that_waits_is_read_again_with_a_new_mapping(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(f"Nummer,Was\n{EAN},a\n")
    source = make(organization, server.url())
    assert fetch()
    work()
    assert last(source).status == "mapping"
    change(source, mapping={"Nummer": "gtin", "Was": "name"})
    assert fetch()
    work()
    assert sorted(source.runs.values_list("status", flat=True)) == ["cancelled", "done"]
    assert stored(organization) == [product(gtin=EAN_14, name="a")]

    # The file gets another title, and a person says what it is, once.
    for number in (1, 2):
        server.serve(f"Nummer,Wie\n{EAN},{number}\n")
        run_now(source)
        assert fetch()
        work()
        run = last(source)
        if number == 1:
            assert run.status == "mapping"
            actions.map_columns(run, {"Nummer": "gtin", "Wie": "name"}, remember=True)
            work()
            actions.confirm(run)
            work()
        assert stored(organization) == [product(gtin=EAN_14, name=str(number))]


# --- Failures ------------------------------------------------------------------------------------


def test_failing_source_is_tried_later_and_later(
    organization: Organization, server: FeedServer
) -> None:
    server.answers["/feed.csv"] = status(500)
    source = make(organization, server.url(), interval_hours=1)
    delays = []
    for _ in range(9):
        again(source)
        delays.append(minutes_until(source.next_run_at))
    assert delays == [15, 30, 60, 120, 240, 480, 960, 1440, 1440]
    assert (source.failures, source.last_outcome, source.detail) == (
        9,
        "failed",
        "The server returned 500 Internal Server Error.",
    )
    assert [str(each.state) for each in shown_sources([source])] == ["failing"]
    assert not fetch()

    # What the server asks for is more than that.
    server.answers["/feed.csv"] = status(429, Retry_After="180000")
    again(source)
    assert minutes_until(source.next_run_at) == 3000
    server.serve(rows(1))
    again(source)
    assert (source.failures, source.detail, minutes_until(source.next_run_at)) == (0, "", 60)


def test_web_page_and_damaged_file_change_nothing(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(f"gtin,name\n{EAN},a\n")
    source = make(organization, server.url(), when_gone="discontinue")
    assert fetch()
    work()
    before = stored(organization)
    server.serve("<!doctype html><p>Log in")
    again(source)
    assert (source.failures, source.detail, source.runs.count()) == (1, HTML, 1)
    # Fetched, but it cannot be read.
    server.serve(b"\x1f\x8b damaged")
    again(source)
    assert (source.failures, last(source).status) == (2, "failed")
    assert source.detail == last(source).detail
    assert "gzip" in source.detail
    assert minutes_until(source.next_run_at) == 30
    assert stored(organization) == before


def test_gzip_bomb_is_refused_by_the_check(organization: Organization, server: FeedServer) -> None:
    rows_of_zeros = gzip.compress(b"1," + b"0" * 100_000 + b"\n") * 9
    bomb = gzip.compress(b"gtin,name\n") + rows_of_zeros * 80
    server.serve(bomb, Content_Encoding="gzip")
    source = make(organization, server.url())
    assert fetch()
    work()
    source.refresh_from_db()
    assert "unpacks to more than 200 times its size" in source.detail
    assert stored(organization) == []


def test_source_rests_between_two_fetches(
    organization: Organization, server: FeedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(organization, server.url())
    assert fetch()
    monkeypatch.setattr(schedule, "MIN_GAP", datetime.timedelta(seconds=10))
    run_now(source)
    assert not fetch()
    ImportSource.objects.update(last_run_at=Now() - datetime.timedelta(seconds=11))
    assert fetch()


def test_corrected_login_is_tried_at_once(organization: Organization, server: FeedServer) -> None:
    server.answers["/feed.csv"] = status(401)
    source = again(make(organization, server.url()))
    assert source.failures == 1
    change(source, username="brand", password="right")
    server.serve(rows(1))
    assert fetch()
    work()
    source.refresh_from_db()
    assert (source.failures, source.detail, last(source).status) == (0, "", "done")


# --- Workers -------------------------------------------------------------------------------------


def test_two_workers_fetch_a_source_once(organization: Organization, server: FeedServer) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        entered.set()
        go_on.wait(30)
        status(200)(handler)

    server.answers["/feed.csv"] = slow
    source = make(organization, server.url())
    make(organization, server.url("/other.csv"))

    def one() -> None:
        fetch()
        connection.close()

    first = threading.Thread(target=one)
    first.start()
    assert entered.wait(30)
    # Even when the lease is over; and of an organization one file is fetched at a time.
    ImportSource.objects.filter(pk=source.pk).update(
        next_run_at=Now() - datetime.timedelta(minutes=1)
    )
    assert not fetch()
    # Another organization does not wait.
    server.serve(rows(1), "/third.csv")
    make(OrganizationFactory(), server.url("/third.csv"))
    assert fetch()
    go_on.set()
    first.join()
    assert sorted(each.path for each in server.requests) == ["/feed.csv", "/third.csv"]


def test_two_workers_fetch_one_file_of_an_organization(
    organization: Organization, server: FeedServer
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        entered.set()
        go_on.wait(30)
        status(200)(handler)

    server.answers["/slow.csv"] = slow
    for path in ("/slow.csv", "/other.csv"):
        url = server.url(path)
        run_with_retry(lambda url=url: actions.start_from(organization, None, url))

    def one() -> None:
        fetch()
        connection.close()

    first = threading.Thread(target=one)
    first.start()
    assert entered.wait(30)
    assert not fetch()
    # Another organization does not wait.
    server.serve(rows(1), "/third.csv")
    third = server.url("/third.csv")
    run_with_retry(lambda: actions.start_from(OrganizationFactory(), None, third))
    assert fetch()
    go_on.set()
    first.join()
    assert [each.path for each in server.requests] == ["/slow.csv", "/third.csv"]


def test_source_of_a_killed_worker_is_due_after_its_lease(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1))
    source = make(organization, server.url())
    # What a worker leaves that was killed during the fetch.
    assert schedule.claim(source)
    assert not fetch()
    ImportSource.objects.update(next_run_at=Now())
    assert fetch()
    # Killed during the check, then during the import.
    for working, queued in (("checking", "waiting"), ("importing", "confirmed")):
        ImportRun.objects.update(status=working)
        assert actions.notice_interruption(last(source))
        assert last(source).status == queued
    assert last(source).interruptions == 2
    work()
    assert last(source).status == "done"


@pytest.mark.slow
def test_killed_workers_lose_and_repeat_nothing(
    organization: Organization, server: FeedServer, folder: Path
) -> None:
    fetching, go_on = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        fetching.set()
        go_on.wait(60)
        file(rows(*range(2_000)))(handler)

    server.answers["/feed.csv"] = slow
    source = make(organization, server.url())
    workers = [source_worker.start(ca_file(), folder) for _ in range(2)]
    try:
        assert fetching.wait(60)
        # Both are killed during the fetch; the lease is over for the next ones.
        for worker in workers:
            worker.kill()
            worker.wait()
        go_on.set()
        ImportSource.objects.update(next_run_at=Now())
        for status_to_kill_in in ("checking", "importing"):
            workers = [source_worker.start(ca_file(), folder) for _ in range(2)]
            wait_until(
                lambda wanted=status_to_kill_in: ImportRun.objects.filter(  # type: ignore[misc]
                    status__in=[wanted, "done"]
                ).exists()
            )
            for worker in workers:
                worker.kill()
                worker.wait()
        workers = [source_worker.start(ca_file(), folder) for _ in range(2)]
        wait_until(lambda: ImportRun.objects.filter(status="done").exists())
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert (source.runs.count(), last(source).created) == (1, 2_000)
    assert SourcedRow.objects.count() == Product.objects.of(organization).count() == 2_000
    assert assert_exact(organization).total_products == 2_000
    # One killed request, and one that was answered.
    assert len(server.requests) == 2


def test_run_that_kills_its_workers_fails_in_the_end(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1))
    source = make(organization, server.url())
    assert fetch()
    for _ in range(actions.MAX_INTERRUPTIONS + 1):
        ImportRun.objects.update(status="checking")
        assert actions.notice_interruption(last(source))
    source.refresh_from_db()
    assert (last(source).status, source.failures, source.detail) == (
        "failed",
        1,
        actions.INTERRUPTED,
    )


def test_change_during_a_fetch_wins(organization: Organization, server: FeedServer) -> None:
    source = make(organization, server.url())

    def answer(handler: Any) -> None:
        change(source, is_paused=True)
        connection.close()
        status(500)(handler)

    server.answers["/feed.csv"] = answer
    assert fetch()
    source.refresh_from_db()
    assert (source.is_paused, source.next_run_at, source.failures) == (True, None, 0)
    assert not fetch()
    # Once, on request.
    server.serve(rows(1))
    again(source)
    assert (last(source).status, source.next_run_at) == ("done", None)


def test_change_during_an_import_reads_the_file_again(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(f"EAN;Titel\n{EAN};Oats\n")
    source = make(organization, server.url(), mapping={"EAN": "gtin", "Titel": "name"})
    assert fetch()
    assert work_on_next(threading.Event())
    assert last(source).status == "confirmed"

    def one() -> None:
        work_on_next(threading.Event())
        connection.close()

    importing = threading.Thread(target=one)
    with sessions(1) as (other,):
        # The import has begun, and waits for its turn.
        lock = "SELECT pg_advisory_lock(hashtextextended('catalog.importing ' || %s, 0)) IS NULL"
        other.run(lambda: query(lock, [str(organization.pk)]))
        importing.start()
        wait_until(lambda: last(source).status == "importing")
        change(source, mapping={"EAN": "gtin", "Titel": "description"})
    importing.join()
    source.refresh_from_db()
    assert last(source).status == "done"
    assert (source.sha256, source.imported_columns, source.imported_rows) == ("", None, 1)

    ImportSource.objects.update(next_run_at=Now(), last_run_at=None)
    assert fetch()
    work()
    assert (last(source).status, source.runs.count()) == ("done", 2)
    assert stored(organization) == [product(gtin=EAN_14, name="Oats", description="Oats")]


def test_stopped_fetch_is_due_again(organization: Organization, server: FeedServer) -> None:
    stop = threading.Event()

    def answer(handler: Any) -> None:
        stop.set()
        server.ended.wait(30)

    server.answers["/feed.csv"] = answer
    source = make(organization, server.url())
    assert fetch_next(stop)
    source.refresh_from_db()
    assert (source.failures, minutes_until(source.next_run_at)) == (0, 0)
    assert source.runs.count() == 0


# --- Rows that are gone --------------------------------------------------------------------------

OFFERS = "gtin,retailer,sku,url\n"


def offer_row(number: int) -> str:
    return f"{gtin(number)},Market,{number},https://shop.example.com/{number}\n"


def statuses(model: Any, field: str) -> dict[str, str]:
    return dict(model.objects.order_by(field).values_list(field, "status"))


def test_offers_that_are_gone_are_out_of_stock(
    organization: Organization, server: FeedServer
) -> None:
    for number in range(4):
        Product.objects.create(organization=organization, gtin=gtin(number))
    mine = OfferFactory(product=Product.objects.get(gtin=gtin(0)), sku="mine")
    server.serve(OFFERS + "".join(map(offer_row, range(4))))
    source = make(organization, server.url(), when_gone="out_of_stock")
    assert fetch()
    work()
    server.serve(OFFERS + offer_row(0) + offer_row(1))
    again(source)
    assert last(source).gone == 2
    assert statuses(Offer, "sku") == {
        "0": "active",
        "1": "active",
        "2": "out_of_stock",
        "3": "out_of_stock",
        "mine": "active",
    }
    assert Offer.objects.get(sku="2").updated_by == "import of feeds.test"
    assert mine.updated_by == ""
    assert set(statuses(Product, "gtin").values()) == {"active"}
    # Back again.
    server.serve(OFFERS + "".join(map(offer_row, range(3))))
    again(source)
    assert last(source).gone == 0
    assert statuses(Offer, "sku")["2"] == "active"
    assert statuses(Offer, "sku")["3"] == "out_of_stock"
    assert_exact(organization)


def test_products_that_are_gone_are_discontinued_unless_another_source_has_them(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1, 2, 3, 4))
    server.serve(rows(4), "/other.csv")
    source = make(organization, server.url(), when_gone="discontinue")
    make(organization, server.url("/other.csv"))
    other: Organization = OrganizationFactory()
    assert fetch()
    assert fetch()
    work()
    Product.objects.create(organization=other, gtin=gtin(3))
    server.serve(rows(1, 2))
    again(source)
    assert last(source).gone == 1
    mine = Product.objects.of(organization).order_by("gtin")
    assert [str(each.status) for each in mine] == ["active", "active", "discontinued", "active"]
    assert Product.objects.of(other).get().status == "active"
    # Unchanged, with one back that the file gives a status.
    server.serve("gtin,name,status\n" + "".join(f"{gtin(n)},p{n},draft\n" for n in (1, 2, 3)))
    again(source)
    actions.confirm(last(source))
    work()
    assert Product.objects.of(organization).get(gtin=gtin(3)).status == "draft"
    assert_exact(organization)


def test_rejected_rows_are_not_gone(organization: Organization, server: FeedServer) -> None:
    server.serve(rows(1, 2, 3, 4))
    source = make(organization, server.url(), when_gone="discontinue")
    assert fetch()
    work()
    # Product 3 is rejected by its name, and 4 is gone.
    server.serve(rows(1, 2) + f"{gtin(3)},{'x' * 300}\n")
    again(source)
    assert (last(source).rejected, last(source).gone) == (1, 1)
    assert statuses(Product, "gtin") == {
        gtin(1): "active",
        gtin(2): "active",
        gtin(3): "active",
        gtin(4): "discontinued",
    }
    # The row without a GTIN may be product 3: nothing is gone.
    server.serve(rows(1, 2) + "4.00638E+12,p3\n")
    again(source)
    assert (last(source).status, last(source).gone) == ("done", None)
    assert Product.objects.get(gtin=gtin(3)).status == "active"
    server.serve(rows(1, 2))
    again(source)
    assert last(source).gone == 1
    assert Product.objects.get(gtin=gtin(3)).status == "discontinued"


def test_kept_rows_are_counted_and_unchanged_ones_not_written(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1, 2, 3))
    source = make(organization, server.url())
    assert fetch()
    work()
    before = query("SELECT array_agg(xmin::text ORDER BY row_id) FROM catalog_sourcedrow")
    server.serve(rows(1, 2, 3, names="new"))
    again(source)
    after = query("SELECT array_agg(xmin::text ORDER BY row_id) FROM catalog_sourcedrow")
    assert before == after
    Product.objects.get(gtin=gtin(3)).delete()
    server.serve(rows(1, 2, names="new"))
    again(source)
    # It was deleted, and is forgotten.
    assert last(source).gone == 1
    assert SourcedRow.objects.count() == 2
    assert set(statuses(Product, "gtin").values()) == {"active"}


# --- What people set -----------------------------------------------------------------------------


def test_password_is_encrypted_and_read_with_older_keys(
    organization: Organization, settings: Settings, server: FeedServer
) -> None:
    source = make(organization, server.url(), username="brand", password="s3cret-word")
    found = query("SELECT encrypted_password FROM catalog_importsource")
    assert "s3cret-word" not in str(found)
    assert source.password == "s3cret-word"
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret-key-of-random-characters-57"
    assert ImportSource.objects.get().password == "s3cret-word"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(CannotDecrypt):
        _ = ImportSource.objects.get().password
    assert fetch()
    source.refresh_from_db()
    assert source.detail == (
        "The password can no longer be read, because SECRET_KEY has changed: enter the password "
        "again."
    )
    assert server.requests == []


def test_password_is_not_sent_to_another_host(organization: Organization) -> None:
    source = make(organization, "https://a.example.com/f", username="u", password="p")
    with pytest.raises(InvalidField) as refused:
        change(source, url="https://b.example.com/f")
    assert (refused.value.field, str(refused.value)) == (
        "password",
        "The address has another host: enter the password again, or remove the user.",
    )
    assert change(source, url="https://a.example.com/g").password == "p"
    assert change(source, url="https://b.example.com/f", password="q").password == "q"
    assert change(source, url="https://c.example.com/f", username="").has_password is False


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"url": "http://a.example.com/f"}, "url", "The address must start with https://."),
        ({"url": "feeds"}, "url", "Only URLs that start with http:// or https:// are checked."),
        (
            {"url": "https://u:p@a.example.com/"},
            "url",
            "The address contains a user name or password, which is not allowed.",
        ),
        (
            {"url": "https://a.example.com:22/"},
            "url",
            "The address has port 22; only 80, 443, 8080 and 8443 are allowed.",
        ),
        ({"password": "p"}, "username", "A password needs a user."),
        ({"username": "a:b"}, "username", "A user has no colon (RFC 7617)."),
        (
            {"shop": "shop"},
            "shop",
            "Enter a complete http or https address: https://shop.example.com/item.",
        ),
    ],
)
def test_unfit_values_are_rejected(
    organization: Organization, values: dict[str, str], field: str, sentence: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        make(organization, **{"url": "https://a.example.com/", **values})
    assert (refused.value.field, str(refused.value)) == (field, sentence)


def test_organization_has_a_limited_number_of_sources(organization: Organization) -> None:
    ImportSourceFactory()
    for number in range(MAX_SOURCES):
        make(organization, f"https://a.example.com/{number}")
    with pytest.raises(TooManySources):
        make(organization, "https://a.example.com/more")


def test_deleted_source_keeps_its_runs_and_products(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1))
    source = make(organization, server.url())
    assert fetch()
    work()
    source.delete()
    assert (ImportRun.objects.get().source_id, SourcedRow.objects.count()) == (None, 0)
    assert Product.objects.count() == 1


def test_unfinished_runs_of_sources_do_not_prevent_uploads(
    organization: Organization, server: FeedServer
) -> None:
    server.serve(rows(1))
    for number in range(actions.MAX_UNFINISHED):
        make(organization, server.url(f"/{number}"))
        server.serve(rows(1), f"/{number}")
        assert fetch()
    assert ImportRun.objects.unfinished().count() == actions.MAX_UNFINISHED
    file = ContentFile(rows(1).encode())
    assert actions.start(organization, None, file, "a.csv").status == "waiting"
