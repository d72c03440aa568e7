"""Unreachable hosts: shops that are down, or an outage of our own network."""

from __future__ import annotations

import datetime
import heapq
import itertools
from collections.abc import Callable, Iterable

import pytest
from django.db.models.functions import Now

from offers.models import FAILING, CheckedHost, Offer
from offers.url_checks.fetch.responses import Failure, FetchResult
from offers.url_checks.outage import OutageDetector
from offers.url_checks.schedule.due import schedule_probes
from offers.url_checks.verdict import CheckState, judge
from tests.factories import OfferFactory
from tests.sessions import TIMEOUT_SECONDS, sessions

START = datetime.datetime(2096, 1, 1, tzinfo=datetime.UTC)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
HOST = "shop{}.test"


class Worker:
    """Checks URLs as a worker does, with a clock that a test moves.

    ``answers`` says whether a host answers at a time.
    """

    def __init__(self, responses: Callable[[str, float], bool]) -> None:
        self.now = 0.0
        self._answers = responses
        self._detector = OutageDetector(lambda: self.now)
        self._due: list[tuple[float, int, str]] = []
        self._count = itertools.count()
        self._probes: list[str] = []
        self.states: dict[int, CheckState] = {}
        # Hosts whose URLs were failing at any time, and since when.
        self.failing: dict[str, float] = {}

    def offer(self, host: str, *, due: float, status: str = "ok") -> None:
        """Add an offer; one that works may become a probe."""
        number = next(self._count)
        self.states[number] = CheckState(url_status=status)
        heapq.heappush(self._due, (due, number, host))
        if status == "ok":
            self._probes.append(host)

    def work(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            at, number, host = heapq.heappop(self._due)
            self.now = max(self.now, at)
            heapq.heappush(self._due, (self._check(number, host), number, host))
        self.now = until

    def _check(self, number: int, host: str) -> float:
        """Return when the next check is due."""
        response = self._ask(host)
        delay = self._detector.suspect_outage(response)
        if delay is not None:
            unreachable = self._detector.unreachable_to_probe()
            # Probes are checked within seconds, in addition to their own schedule.
            for probe in (
                [w for w in self._probes if w not in unreachable][:3] if unreachable else []
            ):
                self._detector.suspect_outage(self._ask(probe))
            return self.now + delay.total_seconds() * 1.5
        moment = START + datetime.timedelta(seconds=self.now)
        verdict = judge(self.states[number], response, now=moment, jitter=0)
        self.states[number] = verdict
        if verdict.url_status in FAILING:
            self.failing.setdefault(host, self.now)
        return (verdict.url_check_at - START).total_seconds()

    def _ask(self, host: str) -> FetchResult:
        if self._answers(host, self.now):
            return FetchResult(url=f"https://{host}/", host=host, status=200, detail="")
        return FetchResult(url=f"https://{host}/", host=host, failure=Failure.TIMEOUT, detail="")

    @property
    def strikes(self) -> list[int]:
        return [state.url_strikes for state in self.states.values()]


@pytest.mark.parametrize("hosts", [1, 2, 5, 19, 20, 60])
def test_outage_of_an_hour_breaks_no_offer(hosts: int) -> None:
    begins, ends = DAY, DAY + HOUR
    worker = Worker(lambda host, at: not begins < at < ends)
    for number in range(200):
        worker.offer(HOST.format(number % hosts), due=number * DAY / 200)
    worker.work(until=3 * DAY)
    assert worker.failing == {}
    assert set(worker.strikes) == {0}


@pytest.mark.parametrize(("hosts", "hours"), [(5, 5), (19, 19), (20, 100)])
def test_longer_outage_is_tolerated_with_more_hosts(hosts: int, hours: int) -> None:
    begins, ends = DAY, DAY + hours * HOUR
    worker = Worker(lambda host, at: not begins < at < ends)
    for number in range(200):
        worker.offer(HOST.format(number % hosts), due=number * DAY / 200)
    worker.work(until=ends + DAY)
    assert worker.failing == {}


@pytest.mark.parametrize("dead", [1, 2, 5, 19])
def test_shops_that_are_all_down_fail_in_the_end(dead: int) -> None:
    worker = Worker(lambda host, at: False)
    for number in range(dead):
        worker.offer(HOST.format(number), due=HOUR, status="unchecked")
    worker.work(until=(dead + 3) * HOUR)
    assert len(worker.failing) == dead
    # Not at once: it could have been our network.
    assert min(worker.failing.values()) > dead * HOUR


@pytest.mark.parametrize("dead", [1, 2, 5, 19, 20, 60])
def test_shops_fail_once_another_host_responds(dead: int) -> None:
    worker = Worker(lambda host, at: host == "alive.test")
    # Its own check is a day later.
    worker.offer("alive.test", due=DAY)
    for number in range(dead):
        worker.offer(HOST.format(number), due=HOUR, status="unchecked")
    worker.work(until=3 * HOUR)
    assert len(worker.failing) == dead
    assert "alive.test" not in worker.failing


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_outage_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(lambda host, at: not HOUR < at < 3 * HOUR)
    for number in range(5 * 60):
        worker.offer(HOST.format(number % 5), due=number * MINUTE)
    worker.work(until=5 * HOUR)
    assert messages(caplog) == [
        "no host responds: checks are postponed; check this machine's network",
        "hosts respond again",
    ]


def test_shop_that_is_down_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(lambda host, at: host == "alive.test")
    worker.offer("alive.test", due=DAY)
    worker.offer("dead.test", due=HOUR)
    worker.work(until=12 * HOUR)
    assert worker.failing.keys() == {"dead.test"}
    assert messages(caplog) == []


def offers_at(hosts: Iterable[str], **fields: object) -> None:
    tomorrow = Now() + datetime.timedelta(days=1)
    for host in hosts:
        offer = OfferFactory(url=f"https://{host}/", **fields)
        Offer.objects.filter(pk=offer.pk).update(url_check_at=tomorrow)
        CheckedHost.objects.get_or_create(host=host)


@pytest.mark.django_db
def test_probes_are_at_free_hosts_that_have_responded() -> None:
    offers_at(["good.test", "blocked.test"], http_status=200)
    offers_at(["gone.test"], http_status=404, url_status="broken")
    # None of these is a probe.
    offers_at(["never.test"], http_status=None)
    offers_at(["unreachable.test", "paused.test", "claimed.test"], http_status=200)
    hour = Now() + datetime.timedelta(hours=1)
    CheckedHost.objects.filter(host="paused.test").update(paused_until=hour)
    minute = Now() + datetime.timedelta(minutes=1)
    Offer.objects.filter(url_host="claimed.test").update(url_check_at=minute)
    assert schedule_probes(["unreachable.test"]) == 3
    due = Offer.objects.filter(url_check_at__lte=Now())
    assert set(due.values_list("url_host", flat=True)) == {
        "good.test",
        "blocked.test",
        "gone.test",
    }


@pytest.mark.django_db(transaction=True)
def test_probes_skip_locked_offers() -> None:
    offers_at(["held.test", "free.test"], http_status=200)
    with sessions(2) as (editor, worker):
        editor.begin()
        editor.run(lambda: Offer.objects.filter(url_host="held.test").update(sku="new"))
        assert worker.start(lambda: schedule_probes([])).result(timeout=TIMEOUT_SECONDS) == 1
        editor.end()
    due = Offer.objects.filter(url_check_at__lte=Now())
    assert [offer.url_host for offer in due] == ["free.test"]


@pytest.mark.django_db
def test_probes_are_limited_to_three() -> None:
    offers_at([f"{number}.test" for number in range(8)], http_status=200)
    offers_at(["0.test"], http_status=200)
    assert schedule_probes(["unreachable.test"]) == 3
    due = Offer.objects.filter(url_check_at__lte=Now())
    assert due.values("url_host").distinct().count() == 3
