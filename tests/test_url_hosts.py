"""Politeness: how often a host is asked, whoever asks."""

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
from offers.url_checks.scan import Lookout
from offers.url_checks.schedule import hosts
from offers.url_checks.schedule.hosts import Pace, Place, TurnTooLate
from offers.url_checks.slots import PatientTurns
from offers.url_checks.sync import Luggage, Traveller
from tests.sessions import PATIENCE, query, sessions

pytestmark = pytest.mark.django_db

HOST = "shop.test"
MINUTE = datetime.timedelta(minutes=1)
AT_ONCE = Pace(interval=datetime.timedelta(0))


def take(host: str = HOST, **options: Any) -> Place | None:
    """Return a place at a host, which is known then, if there is one."""
    hosts.know([host])
    return next(iter(hosts.take([host], **options)), None)


def pass_time(seconds: float) -> None:
    """Let time pass for all hosts: everything that was set lies so much longer ago."""
    passed = datetime.timedelta(seconds=seconds)
    names = ("next_start_at", "first_busy_until", "second_busy_until", "wanted_until")
    CheckedHost.objects.update(**{name: F(name) - passed for name in (*names, "paused_until")})


def paused_for() -> float:
    """Return for how many seconds the host is left in peace."""
    return float(query("SELECT extract(epoch FROM paused_until - now()) FROM offers_checkedhost"))


def watch_hosts() -> Callable[[], list[tuple[bool, bool]]]:
    """Note from now on, for the rest of a transaction, all that is written of hosts.

    Returns what tells it, in order: whether a first place was in use, and whether there was a
    pause.
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


def test_two_requests_begin_a_second_apart() -> None:
    assert take()
    assert take() is None
    pass_time(0.5)
    assert take() is None
    pass_time(0.6)
    assert take()


def test_a_third_request_waits_until_one_of_two_has_ended() -> None:
    first, second = take(pace=AT_ONCE), take(pace=AT_ONCE)
    assert first
    assert second
    assert take(pace=AT_ONCE) is None
    hosts.leave([second])
    third = take(pace=AT_ONCE)
    assert third
    assert take(pace=AT_ONCE) is None
    hosts.leave([first, third])
    assert take(pace=AT_ONCE)
    assert take(pace=AT_ONCE)


def test_the_place_of_a_worker_that_died_is_free_after_half_a_minute() -> None:
    assert take(pace=AT_ONCE)
    assert take(pace=AT_ONCE)
    pass_time(29)
    assert take(pace=AT_ONCE) is None
    pass_time(2)
    assert take(pace=AT_ONCE)


def test_leaving_late_takes_nobody_elses_place() -> None:
    late = take(pace=AT_ONCE)
    assert late
    pass_time(31)
    assert take(pace=AT_ONCE)
    assert take(pace=AT_ONCE)
    hosts.leave([late])
    assert take(pace=AT_ONCE) is None


def test_hosts_have_budgets_of_their_own() -> None:
    hosts.know(["a.test", "b.test", "c.test"])
    assert {place.host for place in hosts.take(["a.test", "b.test"])} == {"a.test", "b.test"}
    assert {place.host for place in hosts.take(["b.test", "c.test"])} == {"c.test"}


def test_who_stands_in_line_comes_before_new_claims() -> None:
    # Nobody has asked this host before.
    (place,), waits = hosts.ask([HOST])
    assert (place.host, waits) == (HOST, {})
    places, waits = hosts.ask([HOST])
    assert places == []
    assert waits[HOST] == pytest.approx(1, abs=0.3)
    pass_time(1.1)
    assert take() is None
    places, _ = hosts.ask([HOST])
    assert [place.host for place in places] == [HOST]
    # Who has gone away without asking again keeps nobody waiting for long.
    hosts.leave([place, *places])
    pass_time(3)
    assert take()


def test_pauses_double_while_a_host_objects_up_to_an_hour() -> None:
    hosts.know([HOST])
    pauses = []
    for _ in range(8):
        hosts.pause({HOST: None})
        pauses.append(round(paused_for() / 60))
        assert take() is None
        pass_time(paused_for() + 1)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert take()


def test_two_objections_at_a_time_are_one() -> None:
    hosts.know([HOST])
    hosts.pause({HOST: None})
    hosts.pause({HOST: None})
    assert paused_for() == pytest.approx(60, abs=5)
    pass_time(61)
    hosts.pause({HOST: None})
    assert paused_for() == pytest.approx(120, abs=5)


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        (datetime.timedelta(seconds=5), 60),
        (datetime.timedelta(minutes=10), 600),
        (datetime.timedelta(days=400), 24 * 3600),
    ],
)
def test_a_host_gets_the_time_it_asks_for(wish: datetime.timedelta, seconds: int) -> None:
    hosts.know([HOST])
    hosts.pause({HOST: wish})
    assert paused_for() == pytest.approx(seconds, abs=5)


def test_a_wish_uttered_during_a_pause_lengthens_it_and_shortens_none() -> None:
    hosts.know([HOST])
    hosts.pause({HOST: 10 * MINUTE})
    hosts.pause({HOST: 20 * MINUTE})
    hosts.pause({HOST: MINUTE})
    assert paused_for() == pytest.approx(1200, abs=5)


def test_a_worker_pauses_a_host_before_it_gives_its_place_back() -> None:
    place = take()
    assert place
    seen = watch_hosts()
    luggage = Luggage(left=[place], objections={HOST: None})
    Traveller(Lookout(hosts.PACE), hosts.PACE).travel(luggage, wanted=0)
    assert seen() == [(True, True), (False, True)]


def test_a_good_answer_after_the_pause_makes_the_next_one_short_again() -> None:
    hosts.know([HOST])
    hosts.pause({HOST: None})
    # Another request was in flight: its answer does not end the pause.
    hosts.forgive([HOST])
    assert take() is None
    pass_time(61)
    place = take()
    assert place
    assert place.objections == 1
    hosts.forgive([HOST])
    hosts.pause({HOST: None})
    assert paused_for() == pytest.approx(60, abs=5)


def test_hosts_that_nobody_asks_any_more_are_forgotten() -> None:
    for host in ("old.test", "paused.test"):
        hosts.know([host])
    pass_time(8 * 24 * 3600)
    hosts.pause({"paused.test": None})
    hosts.know(["new.test"])
    assert hosts.forget_hosts() == 1
    assert set(CheckedHost.objects.values_list("host", flat=True)) == {"paused.test", "new.test"}


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_that_ask_at_the_same_time_one_gets_the_turn() -> None:
    hosts.know([HOST])
    with sessions(6) as workers:
        for _ in range(5):
            asked = [worker.start(lambda: hosts.take([HOST])) for worker in workers]
            got = [place for one in asked for place in one.result()]
            assert len(got) == 1
            hosts.leave(got)
            pass_time(1.1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", [hosts.forgive, hosts.ask], ids=["forgive", "ask"])
def test_workers_that_tell_of_the_same_hosts_do_not_lock_each_other_out(
    change: Callable[[list[str]], object],
) -> None:
    # In the table the last comes first.
    for host in ("z.test", "a.test"):
        CheckedHost.objects.create(
            host=host, objections=1, next_start_at=Now() + datetime.timedelta(minutes=5)
        )
    with sessions(2) as (one, other):
        one.begin()
        one.run(lambda: CheckedHost.objects.filter(host="a.test").update(objections=2))
        told = other.start(lambda: change(["z.test", "a.test"]))
        other.wait_until_blocked()
        # It waits for the first and holds nothing yet.
        one.run(lambda: CheckedHost.objects.select_for_update(nowait=True).get(host="z.test"))
        one.end()
        told.result(timeout=PATIENCE)


@pytest.mark.django_db(transaction=True)
def test_forgetting_hosts_passes_those_that_somebody_holds() -> None:
    for host in ("z.test", "a.test"):
        hosts.know([host])
    pass_time(8 * 24 * 3600)
    with sessions(2) as (worker, cleaner):
        worker.begin()
        worker.run(lambda: CheckedHost.objects.filter(host="a.test").update(next_start_at=Now()))
        assert cleaner.run(hosts.forget_hosts) == 1
        worker.end()
    assert list(CheckedHost.objects.values_list("host", flat=True)) == ["a.test"]


def ask_politely(within: float, *, pace: Pace = hosts.PACE) -> int:
    """Wait for a turn, and return how many places are in use while it lasts."""
    turns = PatientTurns(within=datetime.timedelta(seconds=within), pace=pace)

    async def wait() -> int:
        async with turns.turn(HOST):
            in_use = await busy()
        await turns.end()
        return in_use

    return async_to_sync(wait)()


async def busy() -> int:
    return await CheckedHost.objects.filter(first_busy_until__gt=Now()).acount()


def test_a_person_waits_for_a_turn_and_gives_it_back() -> None:
    quick = Pace(interval=datetime.timedelta(seconds=0.2))
    taken = take(pace=quick)
    assert taken
    hosts.leave([taken])
    assert ask_politely(within=10, pace=quick) == 1
    assert not CheckedHost.objects.filter(first_busy_until__gt=Now()).exists()


def test_a_turn_that_does_not_come_in_time_is_told_at_once() -> None:
    hosts.know([HOST])
    hosts.pause({HOST: 5 * MINUTE})
    with pytest.raises(TurnTooLate) as raised:
        ask_politely(within=10)
    assert raised.value.wait == pytest.approx(300, abs=5)
