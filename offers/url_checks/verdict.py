"""Computes the URL status of an offer from the result of a check, and when to check again.

A false alarm costs a brand's trust, so one bad result decides nothing: a page must be missing
twice, and any other failure must occur three times, each time at least ten minutes later. A result
that only shows that the checker is blocked never decides. One success resets everything.

All functions are pure: no clock, no randomness, no database.
"""

from __future__ import annotations

import dataclasses
import datetime
import html
import re
from collections.abc import Collection, Mapping

from offers.models import FAILING, UrlStatus
from offers.url_checks.fetch.responses import Failure, FetchResult

MINUTE, HOUR, DAY = (
    datetime.timedelta(minutes=1),
    datetime.timedelta(hours=1),
    datetime.timedelta(days=1),
)
# Checks closer to each other than this are one piece of evidence.
SPACING = 10 * MINUTE
# A failing verdict needs this many strikes in a row: two missing pages, or three other failures.
STRIKES_FOR_VERDICT = 6
# Strikes without another one for this long are dropped.
STRIKES_EXPIRE_AFTER = 3 * DAY

# The time until the next check: of a suspected failure (shortest and longest), ...
SUSPICION_INTERVAL = (SPACING, 15 * MINUTE)
# ... of a URL that works or that cannot be judged, ...
ROUTINE_INTERVAL = DAY
# ... and of a URL that fails: as long as it has been failing, so the time doubles with each check,
# within these limits; later a tenth of that time, up to a week.
MIN_FAILING_INTERVAL, MAX_FAILING_INTERVAL = HOUR, DAY
MAX_LONG_DEAD_INTERVAL = 7 * DAY
# The fraction by which the last two vary, so that checks spread out.
JITTER = 0.1
# The longest Retry-After that postpones the next check.
MAX_POSTPONEMENT = DAY

MAX_DETAIL_LENGTH = 500


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A kind of result: the URL status it leads to, and how many strikes it counts.

    ``strikes`` is 0 for a result that decides at once. ``url_status`` is None for one that never
    decides: the last status stays, or the URL is ``blocked`` if it was unchecked.
    """

    url_status: UrlStatus | None
    strikes: int = 0


WORKS = Outcome(UrlStatus.OK)
GONE = Outcome(UrlStatus.BROKEN, strikes=STRIKES_FOR_VERDICT // 2)
FAILS = Outcome(UrlStatus.BROKEN, strikes=STRIKES_FOR_VERDICT // 3)
TOO_SLOW = Outcome(UrlStatus.TIMEOUT, strikes=STRIKES_FOR_VERDICT // 3)
NO_SUCH_HOST = Outcome(UrlStatus.DNS_FAILURE, strikes=STRIKES_FOR_VERDICT // 3)
NOT_WELCOME = Outcome(None)

# RFC 9110, section 15; other statuses go by their first digit below. Some firewalls send 402 and
# 418 to automated visitors. 425 (RFC 8470) and 429 (RFC 6585) mean: later. 451 (RFC 7725) depends
# on the location of the checker. 999 comes from LinkedIn and its imitators.
BY_STATUS: Mapping[int, Outcome] = {
    404: GONE,
    410: GONE,
    408: TOO_SLOW,
    **dict.fromkeys((401, 402, 403, 405, 406, 407, 418, 425, 429, 451, 999), NOT_WELCOME),
}
# The checker follows redirects and sends no conditions, so a final 3xx has no page either. Others,
# such as 100 or 600, are not valid as a final status.
BY_HUNDRED: Mapping[int, Outcome] = {2: WORKS, 3: FAILS, 4: FAILS, 5: FAILS}
BY_FAILURE: Mapping[Failure, Outcome] = {
    Failure.DNS: NO_SUCH_HOST,
    Failure.CONNECTION: FAILS,
    Failure.TLS: FAILS,
    Failure.TIMEOUT: TOO_SLOW,
    Failure.PROTOCOL: FAILS,
    Failure.UNREADABLE: NOT_WELCOME,
    Failure.REDIRECTS: FAILS,
    Failure.NOT_ALLOWED: FAILS,
}
# With these statuses a host throttles its clients.
THROTTLE_STATUSES = (429, 503)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckState:
    """The stored state of a URL before a check, by the offer's columns."""

    url_status: str
    url_checked_at: datetime.datetime | None = None
    url_failing_since: datetime.datetime | None = None
    url_strikes: int = 0
    url_struck_first_at: datetime.datetime | None = None
    url_struck_last_at: datetime.datetime | None = None


STATE_COLUMNS = tuple(field.name for field in dataclasses.fields(CheckState))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict(CheckState):
    """What is stored after a check: the new state, and what people see."""

    url_checked_at: datetime.datetime
    http_status: int | None
    url_detail: str
    url_check_at: datetime.datetime


def outcome_of(result: FetchResult) -> Outcome:
    """Return what kind of result it is."""
    if result.sets_cookies:
        # A gate that lets in only browsers: people may get in.
        return NOT_WELCOME
    if result.failure is not None:
        return BY_FAILURE[result.failure]
    if result.bot_wall:
        return NOT_WELCOME
    status = result.status or 0
    return BY_STATUS.get(status) or BY_HUNDRED.get(status // 100, FAILS)


def is_throttled(result: FetchResult) -> bool:
    """Return whether the host throttles the checker: the next request has to wait."""
    return result.failure is None and (
        result.status in THROTTLE_STATUSES or result.bot_wall is not None
    )


def hosts_to_reset(result: FetchResult, requested: Collection[str]) -> set[str]:
    """Return which of the requested hosts responded normally: their next pause is short again.

    All hosts before the last one did: they redirected.
    """
    is_normal = result.failure is None and not is_throttled(result)
    return set(requested) if is_normal else set(requested) - {result.host}


def judge(
    state: CheckState, result: FetchResult, *, now: datetime.datetime, jitter: float
) -> Verdict:
    """Return what to store after a check with this result at ``now``.

    ``jitter`` is a random number from -1 to 1.
    """
    outcome = outcome_of(result)
    status, struck = _decide(state, outcome, now)
    is_failing = status in FAILING
    # Kept when one kind of failure follows another. A status set by a person has none to keep.
    since = (state.url_failing_since or struck.first_at or now) if is_failing else None
    wait = _wait(outcome, failing_for=now - since if since else None, jitter=jitter)
    if result.retry_after:
        wait = max(wait, min(result.retry_after, MAX_POSTPONEMENT))
    return Verdict(
        url_status=status,
        http_status=result.status,
        url_checked_at=now,
        url_failing_since=since,
        url_detail=_detail(result, outcome, status=status, was=state.url_status),
        url_check_at=now + wait,
        url_strikes=struck.strikes,
        url_struck_first_at=struck.first_at,
        url_struck_last_at=struck.last_at,
    )


@dataclasses.dataclass(frozen=True)
class _Strikes:
    """Strikes in a row, and the times of the first and the last one."""

    strikes: int = 0
    first_at: datetime.datetime | None = None
    last_at: datetime.datetime | None = None

    def again(self, strikes: int, now: datetime.datetime) -> _Strikes:
        """Return the strikes with further ones, unless the last one is too recent."""
        if self.last_at and now - self.last_at < SPACING:
            return self
        return _Strikes(min(self.strikes + strikes, STRIKES_FOR_VERDICT), self.first_at or now, now)


def _decide(state: CheckState, outcome: Outcome, now: datetime.datetime) -> tuple[str, _Strikes]:
    """Return the URL status and the strikes after an outcome."""
    struck = _strikes_so_far(state, now)
    if outcome.url_status is None:
        is_known = state.url_status != UrlStatus.UNCHECKED
        return (state.url_status if is_known else UrlStatus.BLOCKED.value), struck
    if not outcome.strikes:
        return outcome.url_status.value, _Strikes()
    struck = struck.again(outcome.strikes, now)
    # Enough strikes stay enough: a URL that fails already shows at once how it fails now.
    is_decided = struck.strikes >= STRIKES_FOR_VERDICT
    return (outcome.url_status.value if is_decided else state.url_status), struck


def _strikes_so_far(state: CheckState, now: datetime.datetime) -> _Strikes:
    """Return the strikes that still count."""
    last_at = state.url_struck_last_at
    if state.url_status not in FAILING:
        # Only a person replaces a failing status and keeps the time since it failed.
        is_set_manually = state.url_failing_since is not None
        if is_set_manually or last_at is None or now - last_at > STRIKES_EXPIRE_AFTER:
            return _Strikes()
    return _Strikes(state.url_strikes, state.url_struck_first_at, last_at)


def _wait(
    outcome: Outcome, *, failing_for: datetime.timedelta | None, jitter: float
) -> datetime.timedelta:
    """Return how long to wait until the next check."""
    if failing_for is not None:
        often = min(failing_for, MAX_FAILING_INTERVAL)
        wait = max(often, min(failing_for / 10, MAX_LONG_DEAD_INTERVAL), MIN_FAILING_INTERVAL)
    elif outcome.strikes:
        shortest, longest = SUSPICION_INTERVAL
        return shortest + (longest - shortest) * (1 + jitter) / 2
    else:
        wait = ROUTINE_INTERVAL
    return wait * (1 + JITTER * jitter)


def _detail(result: FetchResult, outcome: Outcome, *, status: str, was: str) -> str:
    """Return one sentence that explains the status.

    For a URL that works it is a hint from the page itself, or empty.
    """
    if outcome is WORKS:
        return hint_of(result.body) or ""
    sentence = result.detail.rstrip(".")
    if outcome.url_status is None:
        if result.bot_wall:
            wall = f"a bot wall ({result.bot_wall})"
            sentence = f"The shop shows automated visitors {wall} instead of the page"
        elif result.failure is not Failure.UNREADABLE:
            sentence += ": it blocks the checker"
        if status == was and status != UrlStatus.BLOCKED:
            sentence += "; the last status stays"
    elif status not in FAILING:
        sentence += "; confirming with more checks"
    return f"{sentence[: MAX_DETAIL_LENGTH - 1]}."


# --- Hints ---

# A page that opens may say that the product is gone or the domain is parked. Such a hint is shown
# beside the status and never changes it: a product page may contain any of these words. Therefore
# only whole phrases in the title and the first heading count.

# Phrases of a "soft 404", a missing page with status 200, in lower case: English, German, French,
# Spanish, Italian, Dutch, Polish, Portuguese, Swedish and Danish.
NOT_FOUND = (
    "page not found",
    "product not found",
    "item not found",
    "404 not found",
    "error 404",
    "404 error",
    "page doesn't exist",
    "page does not exist",
    "no longer available",
    "no longer exists",
    "page cannot be found",
    "page can't be found",
    "page could not be found",
    "product does not exist",
    "account suspended",
    "welcome to nginx",
    "default page: it works",
    "seite nicht gefunden",
    "produkt nicht gefunden",
    "artikel nicht gefunden",
    "nicht mehr verfügbar",
    "page introuvable",
    "produit introuvable",
    "page non trouvée",
    "n'est plus disponible",
    "página no encontrada",
    "producto no encontrado",
    "pagina non trovata",
    "prodotto non trovato",
    "pagina niet gevonden",
    "product niet gevonden",
    "nie znaleziono strony",
    "página não encontrada",
    "produto não encontrado",
    "ya no está disponible",
    "non è più disponibile",
    "niet meer beschikbaar",
    "strona nie została znaleziona",
    "sidan hittades inte",
    "siden blev ikke fundet",
)
# Phrases of services that sell domains.
PARKED = (
    "domain is for sale",
    "domain may be for sale",
    "domain name is for sale",
    "buy this domain",
    "domain is parked",
    "parked domain",
    "domain has expired",
    "domain expired",
    "domain for sale",
    "domain steht zum verkauf",
)
# Sources of the scripts and frames of such services, in lower case.
PARKED_MARKS = (
    b"sedoparking.com",
    b"parkingcrew.net",
    b"bodis.com",
    b"hugedomains.com/domain_profile",
    b"afternic.com/forsale",
    b"wsimg.com/parking-lander",
)

# For a source in lower case: ignoring case takes twice as long.
_HEADING = re.compile(r"<(title|h1)\b[^>]{0,300}>(.{0,500}?)</\1", re.DOTALL)
_NAME_FOR_SALE = re.compile(r"\b[a-z0-9-]+\.[a-z]{2,24} is for sale")
_TAG = re.compile(r"<[^>]{0,300}>")


def hint_of(body: bytes) -> str | None:
    """Return a hint from the beginning of a page, or ``None``; it never quotes the page."""
    source = body.lower()
    if any(mark in source for mark in PARKED_MARKS):
        return "The page opens, but looks like a parked domain."
    for found in _HEADING.finditer(_decoded(source)):
        text = html.unescape(_TAG.sub(" ", found[2])).replace("\u2019", "'")
        words = " ".join(text.lower().split())
        for phrase in NOT_FOUND:
            if phrase in words:
                return f"The page opens, but says \u201c{phrase}\u201d."
        for phrase in PARKED:
            if phrase in words:
                return f"The page opens, but looks like a parked domain (\u201c{phrase}\u201d)."
        if _NAME_FOR_SALE.search(words):
            return "The page opens, but looks like a parked domain (\u201cis for sale\u201d)."
        if found[1] == "h1":
            break
    return None


def _decoded(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    # Old pages have another encoding. A page that is cut off may end within a character.
    is_other = "\ufffd" in text[:-1]
    return body.decode("windows-1252", "replace") if is_other else text
