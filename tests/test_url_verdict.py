"""Verdicts: the status of a URL from its results over time; makes no requests."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dashboard.demo.catalog import URL_OUTCOMES
from offers.url_checks.fetch.bot_walls import HEADERS, MARKS, TITLES
from offers.url_checks.fetch.connections import out_of_time
from offers.url_checks.fetch.responses import Failure, FetchResult, detail_of_status
from offers.url_checks.verdict import (
    BY_FAILURE,
    BY_STATUS,
    CheckState,
    Verdict,
    is_throttled,
    judge,
)

START = datetime.datetime(2026, 11, 24, 9, 0, tzinfo=datetime.UTC)
MINUTE, HOUR, DAY = (datetime.timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
UNCHECKED = CheckState(url_status="unchecked")
FAILING = ("broken", "timeout", "dns_failure")
PAGE = b"<html><head><title>Oat flakes 500 g</title></head><body>Add to basket</body></html>"


def result(status: int | None = None, failure: Failure | None = None, **fields: Any) -> FetchResult:
    """Return a result as the client does."""
    detail = "The shop did not respond." if failure else detail_of_status(status or 0)
    values: dict[str, Any] = {
        "url": "https://shop.example.com/1",
        "host": "shop.example.com",
        "headers": {"content-type": "text/html; charset=utf-8"},
        "body": PAGE if failure is None else b"",
        "detail": detail,
    }
    return FetchResult(status=status, failure=failure, **values | fields)


def of(word: int | str | FetchResult) -> FetchResult:
    if isinstance(word, FetchResult):
        return word
    return result(word) if isinstance(word, int) else result(failure=Failure(word))


def over_time(
    words: Sequence[int | str | FetchResult],
    *,
    state: CheckState = UNCHECKED,
    every: datetime.timedelta | None = None,
    jitter: float = 0.0,
) -> Iterator[Verdict]:
    """Judge results one after the other, when each check is due or at a fixed interval."""
    now = START
    for word in words:
        verdict = judge(state, of(word), now=now, jitter=jitter)
        yield verdict
        state = verdict
        now = verdict.url_check_at if every is None else now + every


def statuses(words: Sequence[int | str | FetchResult], **more: Any) -> list[str]:
    return [verdict.url_status for verdict in over_time(words, **more)]


# --- The table -------------------------------------------------------------------------------

# Each result, three times in a row for an unchecked URL.
TABLE: dict[int | str, str] = {
    **dict.fromkeys([200, 201, 203, 204, 206, 226, 299], "ok ok ok"),
    **dict.fromkeys([404, 410], "unchecked broken broken"),
    **dict.fromkeys(
        [300, 304, 400, 409, 411, 417, 421, 423, 444, 500, 501, 502, 503, 504, 520, 599, 100, 600],
        "unchecked unchecked broken",
    ),
    **dict.fromkeys(
        ["connection", "tls", "protocol", "redirects", "not_allowed"],
        "unchecked unchecked broken",
    ),
    **dict.fromkeys(["timeout", 408], "unchecked unchecked timeout"),
    "dns": "unchecked unchecked dns_failure",
    **dict.fromkeys(
        [401, 402, 403, 405, 406, 407, 418, 425, 429, 451, 999], "blocked blocked blocked"
    ),
}


@pytest.mark.parametrize("word", TABLE)
def test_repeated_result_becomes_its_status(word: int | str) -> None:
    assert " ".join(statuses([word] * 3)) == TABLE[word]


@pytest.mark.parametrize(
    "word", [w for w, expected in TABLE.items() if expected.split()[2] in FAILING]
)
@pytest.mark.parametrize("known", ["ok", "blocked", "unchecked"])
def test_suspected_failure_keeps_the_status_and_shows_the_result(word: int, known: str) -> None:
    found = of(word)
    first = judge(CheckState(url_status=known), found, now=START, jitter=0)
    assert (first.url_status, first.url_failing_since) == (known, None)
    assert (first.http_status, first.url_checked_at) == (found.status, START)
    expected = f"{found.detail[:-1]}; confirming with more checks."
    assert first.url_detail == expected


def test_shop_that_requires_cookies_is_not_broken() -> None:
    circle = result(302, Failure.REDIRECTS, sets_cookies=True)
    assert statuses([circle] * 4) == ["blocked"] * 4
    assert statuses([200, circle, circle, circle]) == ["ok"] * 4


@pytest.mark.parametrize(
    "word", [w for w, expected in TABLE.items() if expected.startswith("blocked")]
)
@pytest.mark.parametrize("known", ["ok", *FAILING])
def test_status_stays_when_the_checker_is_blocked(word: int, known: str) -> None:
    state = CheckState(
        url_status=known,
        url_failing_since=None if known == "ok" else START - DAY,
        url_strikes=0 if known == "ok" else 6,
    )
    verdict = judge(state, of(word), now=START, jitter=0)
    assert (verdict.url_status, verdict.url_failing_since) == (known, state.url_failing_since)
    assert verdict.http_status == word
    assert verdict.url_detail == (
        f"{detail_of_status(word)[:-1]}: it blocks the checker; the last status stays."
    )


def test_every_failure_has_an_outcome() -> None:
    assert set(BY_FAILURE) == set(Failure)


def test_detail_explains_the_status() -> None:
    broken = list(over_time([404, 404]))[-1]
    assert broken.url_detail == "The shop returned 404 Not Found."
    blocked = next(over_time([403]))
    assert blocked.url_detail == ("The shop returned 403 Forbidden: it blocks the checker.")
    assert list(over_time([403, 403]))[-1].url_detail == blocked.url_detail
    assert next(over_time([200])).url_detail == ""
    long = result(failure=Failure.TLS, detail="x" * 499 + ".")
    assert len(next(over_time([long])).url_detail) <= 500


# --- Strikes over time -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # Mixed: three failures in a row, of which the last one sets the status; two are enough only
        # when both are missing pages.
        ([500, 404], ["unchecked", "unchecked"]),
        ([404, 500], ["unchecked", "unchecked"]),
        ([404, 500, 410], ["unchecked", "unchecked", "broken"]),
        ([404, 410], ["unchecked", "broken"]),
        ([500, "timeout", "dns"], ["unchecked", "unchecked", "dns_failure"]),
        # One success resets the strikes.
        ([500, 500, 200, 500, 500, 500], ["unchecked", "unchecked", "ok", "ok", "ok", "broken"]),
        ([404, 404, 200, 404, 404], ["unchecked", "broken", "ok", "ok", "broken"]),
        # A result that decides nothing keeps the strikes.
        ([404, 403, 404], ["unchecked", "blocked", "broken"]),
        ([200, 500, 429, 500, 500], ["ok", "ok", "ok", "ok", "broken"]),
        # A URL that fails shows at once how it fails now.
        ([404, 404, "timeout", "dns", 403, 500], [
            "unchecked", "broken", "timeout", "dns_failure", "dns_failure", "broken",
        ]),
        ([403, 404, 404, 200], ["blocked", "blocked", "broken", "ok"]),
    ],
)  # fmt: skip
def test_statuses_over_time(words: list[int | str], expected: list[str]) -> None:
    assert statuses(words) == expected


@pytest.mark.parametrize("minutes", [0, 1, 9])
@pytest.mark.parametrize("word", [404, 500, "timeout"])
def test_checks_within_ten_minutes_are_one_strike(word: int | str, minutes: int) -> None:
    often = [START + i * minutes * MINUTE for i in range(10)]
    state: CheckState = UNCHECKED
    for now in often:
        if now - START >= 10 * MINUTE:
            break
        state = judge(state, of(word), now=now, jitter=0)
        assert state.url_status == "unchecked"
    assert (state.url_struck_first_at, state.url_struck_last_at) == (START, START)


def test_missing_pages_must_be_ten_minutes_apart() -> None:
    first = judge(UNCHECKED, of(500), now=START, jitter=0)
    again = judge(first, of(404), now=START + 5 * MINUTE, jitter=0)
    third = judge(again, of(404), now=START + 11 * MINUTE, jitter=0)
    fourth = judge(third, of(404), now=START + 22 * MINUTE, jitter=0)
    assert [v.url_status for v in (first, again, third)] == ["unchecked"] * 3
    assert fourth.url_status == "broken"


def test_checks_ten_minutes_apart_are_two_strikes() -> None:
    assert statuses([404, 404], every=10 * MINUTE) == ["unchecked", "broken"]
    assert statuses([500] * 3, every=10 * MINUTE) == ["unchecked", "unchecked", "broken"]


def test_failing_since_is_the_first_strike_until_success() -> None:
    verdicts = list(over_time([200, 500, 500, "timeout", 404, 403, 200, 404, 404]))
    first = verdicts[1].url_checked_at
    again = verdicts[7].url_checked_at
    assert [v.url_failing_since for v in verdicts] == [
        None, None, None, first, first, first, None, None, again,
    ]  # fmt: skip
    healed = verdicts[6]
    assert (healed.url_strikes, healed.url_struck_first_at, healed.url_struck_last_at) == (
        0,
        None,
        None,
    )


def test_old_strikes_expire() -> None:
    assert statuses([404, 404], state=CheckState(url_status="ok"), every=4 * DAY) == ["ok", "ok"]
    assert statuses([404, 404], state=CheckState(url_status="ok"), every=2 * DAY) == [
        "ok",
        "broken",
    ]


def test_manual_status_restarts_the_strikes() -> None:
    *_, broken = over_time([500, 500, 500])
    overruled = CheckState(
        url_status="ok",
        url_failing_since=broken.url_failing_since,
        url_strikes=broken.url_strikes,
        url_struck_first_at=broken.url_struck_first_at,
        url_struck_last_at=broken.url_struck_last_at,
    )
    verdict = judge(overruled, of(500), now=START + HOUR, jitter=0)
    assert (verdict.url_status, verdict.url_failing_since) == ("ok", None)
    assert statuses([500] * 3, state=overruled) == ["ok", "ok", "broken"]


def test_manual_status_stays_until_a_check_disagrees() -> None:
    by_hand = CheckState(url_status="broken")
    struck = judge(by_hand, of(500), now=START, jitter=0)
    assert (struck.url_status, struck.url_failing_since) == ("broken", START)
    rejected = judge(by_hand, of(403), now=START, jitter=0)
    assert (rejected.url_status, rejected.url_failing_since) == ("broken", START)
    assert judge(by_hand, of(200), now=START, jitter=0).url_status == "ok"


# --- The next check --------------------------------------------------------------------------


def waits(words: Sequence[int | str | FetchResult], **more: Any) -> list[datetime.timedelta]:
    return [v.url_check_at - v.url_checked_at for v in over_time(words, **more)]


def test_next_check_depends_on_the_status() -> None:
    assert waits([200]) == [DAY]
    assert waits([403]) == [DAY]
    suspicion = 12.5 * MINUTE
    assert waits([500, 500]) == [suspicion, suspicion]
    assert waits([404, 404]) == [suspicion, HOUR]
    # As long as it has failed, which doubles; a day, until a tenth of the time exceeds it; a week.
    failing = waits([404] * 40)[1:]
    hours = [wait / HOUR for wait in failing]
    assert hours[:7] == pytest.approx([1, 1.21, 2.42, 4.83, 9.67, 19.33, 24], abs=0.01)
    assert hours == sorted(hours)
    assert hours[-1] == pytest.approx(7 * 24)
    assert 24 < hours[20] < 7 * 24


def test_next_check_is_spread_randomly() -> None:
    for word, shortest, longest in (
        (200, 0.9 * DAY, 1.1 * DAY),
        (403, 0.9 * DAY, 1.1 * DAY),
        (500, 10 * MINUTE, 15 * MINUTE),
    ):
        assert waits([word], jitter=-1) == [shortest]
        assert waits([word], jitter=1) == [longest]
    since = CheckState(url_status="broken", url_failing_since=START - DAY, url_strikes=6)
    assert waits([500], state=since, jitter=1) == [1.1 * DAY]


@pytest.mark.parametrize(
    ("retry_after", "word", "waited"),
    [
        (HOUR, 503, HOUR),
        (MINUTE, 503, 12.5 * MINUTE),
        (HOUR, 429, DAY),
        (2 * DAY, 429, DAY),
        (7 * DAY, 503, DAY),
        (HOUR, 200, DAY),
    ],
)
def test_retry_after_postpones_the_next_check(
    retry_after: datetime.timedelta, word: int, waited: datetime.timedelta
) -> None:
    assert waits([result(word, retry_after=retry_after)]) == [waited]


def test_strikes_of_503_are_spaced_by_retry_after() -> None:
    maintenance = result(503, retry_after=2 * HOUR)
    verdicts = list(over_time([200, maintenance, maintenance, 200]))
    assert [v.url_status for v in verdicts] == ["ok", "ok", "ok", "ok"]
    assert verdicts[3].url_checked_at - verdicts[1].url_checked_at == 4 * HOUR
    assert statuses([200, *[maintenance] * 3]) == ["ok", "ok", "ok", "broken"]


# --- Bot walls -------------------------------------------------------------------------------


def html(title: str = "", body: str = "", head: str = "") -> bytes:
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title>{head}</head><body>{body}</body></html>"
    ).encode()


WALLS = {
    "Cloudflare": html(
        "Just a moment...",
        "<noscript>Enable JavaScript and cookies to continue</noscript>"
        "<script>(function(){window._cf_chl_opt={cvId:'3'}}());</script>",
        '<meta name="robots" content="noindex,nofollow"><style>body{margin:0}</style>',
    ),
    "Imperva": html(
        "",
        '<iframe id="main-iframe" src="/_Incapsula_Resource?CWUDNSAI=9">Request unsuccessful. '
        "Incapsula incident ID: 877000200084-9812</iframe>",
    ),
    "Akamai": html(
        "",
        '<div id="sec-if-cpt-container" role="main"></div><p>Powered and protected by Akamai</p>',
    ),
    "HUMAN": html(
        "Access to this page has been denied",
        '<div id="px-captcha"></div><p>Press &amp; Hold to confirm you are a human</p>'
        "<script>window._pxAppId='PXabc'</script>",
    ),
    "DataDome": html(
        "shop.example.com",
        "<p>Please enable JS and disable any ad blocker</p>"
        "<script>var dd={'rt':'c','host':'geo.captcha-delivery.com'}</script>",
    ),
    "a firewall": html(
        "Access Denied",
        "<h1>Access Denied</h1>You don't have permission to access this server.<p>"
        "Reference&#32;&#35;18&#46;1",
    ),
    "Reblaze": html("", "<script>window.rbzns={fiftn:'1'};winsocks();</script>"),
    "SiteGround": html(
        "", "", '<meta http-equiv="refresh" content="0;/.well-known/sgcaptcha/?r=1">'
    ),
    "Anubis": html("Making sure you&#39;re not a bot!", "<p>Loading...</p>"),
    "AWS WAF": html("", "<script>window.gokuProps = {'key':'AQ'};</script>"),
    "a captcha": html(
        "Robot Check",
        '<form action="/errors/validateCaptcha"><h4>Enter the characters you see below</h4></form>',
    ),
}


@pytest.mark.parametrize("whose", WALLS)
@pytest.mark.parametrize("status", [200, 202, 403, 404, 503])
def test_bot_wall_decides_nothing(whose: str, status: int) -> None:
    wall = result(status, body=WALLS[whose])
    assert wall.bot_wall == whose
    assert is_throttled(wall)
    verdict = next(over_time([wall]))
    assert (verdict.url_status, verdict.http_status) == ("blocked", status)
    assert verdict.url_detail == (
        f"The shop shows automated visitors a bot wall ({whose}) instead of the page."
    )
    assert statuses([wall] * 4, state=CheckState(url_status="ok")) == ["ok"] * 4


@pytest.mark.parametrize(("header", "value", "whose"), HEADERS)
def test_header_of_a_challenge_is_enough(header: str, value: str, whose: str) -> None:
    assert result(200, headers={header: value}, body=b"").bot_wall == whose
    assert result(200, headers={header: "allow"}, body=b"").bot_wall is None


@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_is_a_bot_wall(mark: bytes) -> None:
    assert result(200, body=b"<html><p>Wait.</p><!--" + mark.upper() + b"-->").bot_wall


@pytest.mark.parametrize("title", TITLES)
def test_every_title_is_a_bot_wall(title: str) -> None:
    assert result(200, body=html(f"\n {title.upper()} ", "<p>Wait.</p>")).bot_wall == TITLES[title]


LONG = "<p>" + "Rolled oats from the north, toasted and packed. " * 60 + "</p>"


@pytest.mark.parametrize(
    "shop",
    [
        PAGE,
        html("Oat flakes", "<script src='https://www.google.com/recaptcha/api.js'></script>Buy"),
        html("Oat flakes", "<div class='g-recaptcha'></div><div class='h-captcha'></div>" + LONG),
        html("Oat flakes", "<script src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'>"),
        html("Oat flakes", "Buy", "<script src='/_Incapsula_Resource?SWJIYLWA=7'></script>"),
        html("Oat flakes", "Buy", "<script>window._pxAppId='PX1'</script>"),
        html("Just a moment... for tea", "Buy"),
        # A page about bot walls, and one that mentions them in a long text.
        html("Just a moment...", LONG),
        html("Captcha", LONG),
        html("Oat flakes", LONG + "<!-- px-captcha incapsula incident id -->"),
        # The part of a page that is read, without any text.
        html("Access denied", "", "<style>" + "a" * 65_536)[:65_536],
        b"\x1f\x8b\x08\x00just a moment...",
        b"",
    ],
)
def test_ordinary_page_is_no_bot_wall(shop: bytes) -> None:
    assert result(200, body=shop).bot_wall is None
    assert statuses([result(200, body=shop)]) == ["ok"]


def test_other_content_is_no_bot_wall() -> None:
    headers = {"content-type": "application/json"}
    text = result(200, headers=headers, body=b'{"title": "<title>Just a moment...</title>"}')
    assert text.bot_wall is None


@pytest.mark.parametrize(
    "part", [b"<", b"<script>", b"<!--", b"<title>", b"<title><", b"</", b"<a ", b"<head><"]
)
def test_hostile_page_is_read_once(part: bytes) -> None:
    size = 48 * 1024
    body = (b"<title>Just a moment...</title>" + part * size)[:size]
    assert result(200, body=body).bot_wall in (None, "Cloudflare")


F5_WALL = (
    b"<html><head><title>Request Rejected</title></head><body>The requested URL was rejected. "
    b"Please consult with your administrator.<br>Your support ID is: 1</body></html>"
)


def test_firewall_rejection_with_200_decides_nothing() -> None:
    wall = result(200, body=F5_WALL)
    assert statuses([wall] * 4) == ["blocked"] * 4
    assert statuses([200, wall, wall, wall]) == ["ok"] * 4


@pytest.mark.parametrize(
    ("page", "hint"),
    [
        (b"<TITLE>Nicht mehr VERF&Uuml;GBAR</TITLE>", "says \u201cnicht mehr verfügbar\u201d."),
        (html("Product not found | Shop", "Buy"), "says \u201cproduct not found\u201d."),
        (html("Shop", "<h1>404 <b>Error</b></h1>"), "says \u201c404 error\u201d."),
        (html("Shop", "<h1>Seite nicht\n gefunden</h1>"), "says \u201cseite nicht gefunden\u201d."),
        (
            html("Shop", "<h1>Ce produit n&rsquo;est plus disponible</h1>"),
            "says \u201cn'est plus disponible\u201d.",
        ),
        (
            html("shop.example - This domain is for sale!", ""),
            "looks like a parked domain (\u201cdomain is for sale\u201d).",
        ),
        (
            html("Shop", "<h1>Dieser Artikel ist nicht mehr verf&uuml;gbar</h1>"),
            "says \u201cnicht mehr verfügbar\u201d.",
        ),
        (
            html("Página não encontrada").decode().encode("windows-1252"),
            "says \u201cpágina não encontrada\u201d.",
        ),
        (html("Página não encontrada") + b"\xc3", "says \u201cpágina não encontrada\u201d."),
        (html("Welcome to nginx!"), "says \u201cwelcome to nginx\u201d."),
        (
            html("acme-oats.example is for sale"),
            "looks like a parked domain (\u201cis for sale\u201d).",
        ),
        (
            html("", "<script src='https://img.sedoparking.com/x.js'></script>"),
            "looks like a parked domain.",
        ),
        (html("House paint", "<h1>This paint is for sale</h1>"), ""),
        (html("Oat flakes", "<h1>Oat flakes</h1><p>Page not found? Tell us.</p>"), ""),
        (html("Oat flakes", "<h1>Oat flakes</h1><h1>Page not found</h1>"), ""),
        (html("Oat flakes", "<h1>"), ""),
        (b"\xff\x00", ""),
    ],
)
def test_soft_404_gets_a_hint_and_stays_ok(page: bytes, hint: str) -> None:
    verdict = judge(UNCHECKED, result(200, body=page), now=START, jitter=0)
    assert verdict.url_status == "ok"
    assert verdict.url_detail == (hint and f"The page opens, but {hint}")


def test_throttle_statuses_are_429_and_503() -> None:
    assert [status for status in range(100, 1000) if is_throttled(result(status))] == [429, 503]
    assert not any(is_throttled(result(failure=failure)) for failure in Failure)


# --- The docs --------------------------------------------------------------------------------


def test_demo_shows_what_the_checker_would_store() -> None:
    failure, detail = out_of_time(has_status=False, seconds=20)
    nowhere = "The host name does not exist."
    results: dict[str, list[int | str | FetchResult]] = {
        "ok": [200],
        "broken": [404, 404],
        "timeout": [result(failure=failure, detail=detail)] * 3,
        "dns_failure": [result(failure=Failure.DNS, detail=nowhere)] * 3,
        "blocked": [403],
    }
    for finding in URL_OUTCOMES:
        if finding.url_status != "unchecked":
            *_, verdict = over_time(results[finding.url_status])
            assert finding == (verdict.url_status, verdict.http_status, verdict.url_detail)


def test_docs_list_the_outcome_of_every_status() -> None:
    docs = (Path(__file__).parents[1] / "docs/url-checker.md").read_text()
    rows = [line for line in docs.splitlines() if line.startswith("|")]
    for finding in set(BY_STATUS.values()):
        codes = {code for code, judged in BY_STATUS.items() if judged is finding}
        [row] = [row for row in rows if codes == set(map(int, re.findall(r"\b\d{3}\b", row)))]
        assert f"`{finding.url_status or 'blocked'}`" in row
