"""Request limits of hosts, shared by all workers."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from offers.models import CheckedHost
from offers.url_checks.schedule import host_limits
from offers.url_checks.schedule.claims import ClaimScanner
from offers.url_checks.schedule.host_limits import HostLimits, Slot, SlotUnavailable
from offers.url_checks.slots import BlockingSlots
from offers.url_checks.sync import DatabaseSync, Outbox
from tests.sessions import TIMEOUT_SECONDS, query, sessions

pytestmark = pytest.mark.django_db

HOST = "shop.test"
MINUTE = datetime.timedelta(minutes=1)
AT_ONCE = HostLimits(interval=datetime.timedelta(0))


def acquire(host: str = HOST, **options: Any) -> Slot | None:
    """Register a host and acquire a slot at it, if one is free."""
    host_limits.register([host])
    return next(iter(host_limits.acquire([host], **options)), None)


def pass_time(seconds: float) -> None:
    """Let time pass for all hosts: move all their times back."""
    passed = datetime.timedelta(seconds=seconds)
    names = ("next_start_at", "first_busy_until", "second_busy_until", "wanted_until")
    CheckedHost.objects.update(**{name: F(name) - passed for name in (*names, "paused_until")})


def paused_for() -> float:
    """Return for how many seconds the host is paused."""
    return float(query("SELECT extract(epoch FROM paused_until - now()) FROM offers_checkedhost"))


def watch_hosts() -> Callable[[], list[tuple[bool, bool]]]:
    """Log all updates of hosts until the end of the transaction.

    Returns a function for the log, in order: whether the first slot was in use, and whether there
    was a pause.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE seen (id int GENERATED ALWAYS AS IDENTITY, busy bool, paused bool);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO seen (busy, paused)
                VALUES (NEW.first_busy_until IS NOT NULL, NEW.paused_until IS NOT NULL);
                RETURN NULL;
            END $$;
            CREATE TRIGGER see AFTER UPDATE ON offers_checkedhost
            FOR EACH ROW EXECUTE FUNCTION see();
            """
        )

    def seen() -> list[tuple[bool, bool]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT busy, paused FROM seen ORDER BY id")
            return cursor.fetchall()

    return seen


def test_requests_start_a_second_apart() -> None:
    assert acquire()
    assert acquire() is None
    pass_time(0.5)
    assert acquire() is None
    pass_time(0.6)
    assert acquire()


def test_third_request_waits_for_one_of_two_slots() -> None:
    first, second = acquire(limits=AT_ONCE), acquire(limits=AT_ONCE)
    assert first
    assert second
    assert acquire(limits=AT_ONCE) is None
    host_limits.release([second])
    third = acquire(limits=AT_ONCE)
    assert third
    assert acquire(limits=AT_ONCE) is None
    host_limits.release([first, third])
    assert acquire(limits=AT_ONCE)
    assert acquire(limits=AT_ONCE)


def test_slot_of_a_dead_worker_expires_after_30_seconds() -> None:
    assert acquire(limits=AT_ONCE)
    assert acquire(limits=AT_ONCE)
    pass_time(29)
    assert acquire(limits=AT_ONCE) is None
    pass_time(2)
    assert acquire(limits=AT_ONCE)


def test_late_release_keeps_the_slots_of_others() -> None:
    late = acquire(limits=AT_ONCE)
    assert late
    pass_time(31)
    assert acquire(limits=AT_ONCE)
    assert acquire(limits=AT_ONCE)
    host_limits.release([late])
    assert acquire(limits=AT_ONCE) is None


def test_hosts_have_separate_limits() -> None:
    host_limits.register(["a.test", "b.test", "c.test"])
    assert {slot.host for slot in host_limits.acquire(["a.test", "b.test"])} == {"a.test", "b.test"}
    assert {slot.host for slot in host_limits.acquire(["b.test", "c.test"])} == {"c.test"}


def test_queued_request_has_priority_over_new_claims() -> None:
    # The host was never requested.
    (slot,), waits = host_limits.acquire_or_queue([HOST])
    assert (slot.host, waits) == (HOST, {})
    slots, waits = host_limits.acquire_or_queue([HOST])
    assert slots == []
    assert waits[HOST] == pytest.approx(1, abs=0.3)
    pass_time(1.1)
    assert acquire() is None
    slots, _ = host_limits.acquire_or_queue([HOST])
    assert [slot.host for slot in slots] == [HOST]
    # A queued request that does not ask again loses its priority.
    host_limits.release([slot, *slots])
    pass_time(3)
    assert acquire()


def test_pauses_double_up_to_an_hour() -> None:
    host_limits.register([HOST])
    pauses = []
    for _ in range(8):
        host_limits.back_off({HOST: None})
        pauses.append(round(paused_for() / 60))
        assert acquire() is None
        pass_time(paused_for() + 1)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert acquire()


def test_throttled_response_during_a_pause_does_not_count() -> None:
    host_limits.register([HOST])
    host_limits.back_off({HOST: None})
    host_limits.back_off({HOST: None})
    assert paused_for() == pytest.approx(60, abs=5)
    pass_time(61)
    host_limits.back_off({HOST: None})
    assert paused_for() == pytest.approx(120, abs=5)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (datetime.timedelta(seconds=5), 60),
        (datetime.timedelta(minutes=10), 600),
        (datetime.timedelta(days=400), 24 * 3600),
    ],
)
def test_retry_after_sets_the_pause(retry_after: datetime.timedelta, seconds: int) -> None:
    host_limits.register([HOST])
    host_limits.back_off({HOST: retry_after})
    assert paused_for() == pytest.approx(seconds, abs=5)


def test_retry_after_during_a_pause_only_lengthens_it() -> None:
    host_limits.register([HOST])
    host_limits.back_off({HOST: 10 * MINUTE})
    host_limits.back_off({HOST: 20 * MINUTE})
    host_limits.back_off({HOST: MINUTE})
    assert paused_for() == pytest.approx(1200, abs=5)


def test_worker_pauses_a_host_before_it_releases_its_slot() -> None:
    slot = acquire()
    assert slot
    seen = watch_hosts()
    outbox = Outbox(slots_to_release=[slot], backoffs={HOST: None})
    DatabaseSync(ClaimScanner(host_limits.HOST_LIMITS), host_limits.HOST_LIMITS).sync(
        outbox, wanted=0
    )
    assert seen() == [(True, True), (False, True)]


def test_normal_response_after_a_pause_resets_the_backoff() -> None:
    host_limits.register([HOST])
    host_limits.back_off({HOST: None})
    # The response to another request in progress does not end the pause.
    host_limits.reset_backoff([HOST])
    assert acquire() is None
    pass_time(61)
    slot = acquire()
    assert slot
    assert slot.throttle_count == 1
    host_limits.reset_backoff([HOST])
    host_limits.back_off({HOST: None})
    assert paused_for() == pytest.approx(60, abs=5)


def test_idle_hosts_are_deleted() -> None:
    for host in ("old.test", "paused.test"):
        host_limits.register([host])
    pass_time(8 * 24 * 3600)
    host_limits.back_off({"paused.test": None})
    host_limits.register(["new.test"])
    assert host_limits.delete_idle_hosts() == 1
    assert set(CheckedHost.objects.values_list("host", flat=True)) == {"paused.test", "new.test"}


@pytest.mark.django_db(transaction=True)
def test_only_one_of_many_workers_acquires_a_slot() -> None:
    host_limits.register([HOST])
    with sessions(6) as workers:
        for _ in range(5):
            asked = [worker.start(lambda: host_limits.acquire([HOST])) for worker in workers]
            got = [slot for one in asked for slot in one.result()]
            assert len(got) == 1
            host_limits.release(got)
            pass_time(1.1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change", [host_limits.reset_backoff, host_limits.acquire_or_queue], ids=["reset", "acquire"]
)
def test_updates_of_the_same_hosts_do_not_deadlock(
    change: Callable[[list[str]], object],
) -> None:
    # In the table the last one comes first.
    for host in ("z.test", "a.test"):
        CheckedHost.objects.create(
            host=host, objections=1, next_start_at=Now() + datetime.timedelta(minutes=5)
        )
    with sessions(2) as (one, other):
        one.begin()
        one.run(lambda: CheckedHost.objects.filter(host="a.test").update(objections=2))
        waiting = other.start(lambda: change(["z.test", "a.test"]))
        other.wait_until_blocked()
        # It waits for the first row and holds no lock yet.
        one.run(lambda: CheckedHost.objects.select_for_update(nowait=True).get(host="z.test"))
        one.end()
        waiting.result(timeout=TIMEOUT_SECONDS)


@pytest.mark.django_db(transaction=True)
def test_deletion_of_idle_hosts_skips_locked_rows() -> None:
    for host in ("z.test", "a.test"):
        host_limits.register([host])
    pass_time(8 * 24 * 3600)
    with sessions(2) as (worker, cleaner):
        worker.begin()
        worker.run(lambda: CheckedHost.objects.filter(host="a.test").update(next_start_at=Now()))
        assert cleaner.run(host_limits.delete_idle_hosts) == 1
        worker.end()
    assert list(CheckedHost.objects.values_list("host", flat=True)) == ["a.test"]


def hold_slot(within: float, *, limits: HostLimits = host_limits.HOST_LIMITS) -> int:
    """Wait for a slot, and return how many are in use while it is held."""
    slots = BlockingSlots(Outbox(), within=datetime.timedelta(seconds=within), limits=limits)

    async def wait() -> int:
        async with slots.hold(HOST):
            in_use = await busy()
        await slots.end()
        return in_use

    return async_to_sync(wait)()


async def busy() -> int:
    return await CheckedHost.objects.filter(first_busy_until__gt=Now()).acount()


def test_blocking_slots_wait_for_a_slot_and_release_it() -> None:
    quick = HostLimits(interval=datetime.timedelta(seconds=0.2))
    taken = acquire(limits=quick)
    assert taken
    host_limits.release([taken])
    assert hold_slot(within=10, limits=quick) == 1
    assert not CheckedHost.objects.filter(first_busy_until__gt=Now()).exists()


def test_blocking_slots_fail_at_once_when_the_wait_is_too_long() -> None:
    host_limits.register([HOST])
    host_limits.back_off({HOST: 5 * MINUTE})
    with pytest.raises(SlotUnavailable) as raised:
        hold_slot(within=10)
    assert raised.value.wait == pytest.approx(300, abs=5)
