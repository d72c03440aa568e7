"""What an answer says about an offer's address, and when to look again.

A false alarm costs a brand's trust, so one bad answer decides nothing: a page that is gone has to
be gone twice, any other failure has to be met three times, each time at least ten minutes later.
Answers that only say that the checker is not welcome decide nothing at all. One success heals.

Everything here is computed from what it is given: no clock, no chance, no database.
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
# A verdict needs so many strikes in a row: two pages that are gone, or three failures of any kind.
STRIKES_FOR_VERDICT = 6
# A suspicion that nothing has confirmed for so long is forgotten.
STRIKES_EXPIRE_AFTER = 3 * DAY

# Until the next check: of a suspicion (at its shortest and longest), ...
SUSPICION_INTERVAL = (SPACING, 15 * MINUTE)
# ... of an address that works or that cannot be judged, ...
ROUTINE_INTERVAL = DAY
# ... and of one that fails: as long as it has failed, which doubles from one check to the next, so
# at least and at most; once it is long dead a tenth of that time, at most a week.
MIN_FAILING_INTERVAL, MAX_FAILING_INTERVAL = HOUR, DAY
MAX_LONG_DEAD_INTERVAL = 7 * DAY
# By so much of itself each of the last two is longer or shorter, so that checks do not bunch.
JITTER = 0.1
# A host that asks for more patience than this gets this much.
MAX_POSTPONEMENT = DAY

MAX_DETAIL_LENGTH = 500


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A kind of answer: the verdict it speaks for, and how much it weighs.

    ``strikes`` is 0 for what decides at once. ``verdict`` is None where it decides nothing: the
    last verdict stays, or the address is ``blocked`` where there is none.
    """

    url_status: UrlStatus | None
    strikes: int = 0


WORKS = Outcome(UrlStatus.OK)
GONE = Outcome(UrlStatus.BROKEN, strikes=STRIKES_FOR_VERDICT // 2)
FAILS = Outcome(UrlStatus.BROKEN, strikes=STRIKES_FOR_VERDICT // 3)
TOO_SLOW = Outcome(UrlStatus.TIMEOUT, strikes=STRIKES_FOR_VERDICT // 3)
NO_SUCH_HOST = Outcome(UrlStatus.DNS_FAILURE, strikes=STRIKES_FOR_VERDICT // 3)
NOT_WELCOME = Outcome(None)

# RFC 9110, section 15; what is not here goes by its hundred below. 402 and 418 are what some
# firewalls answer to automatic visitors, 425 (RFC 8470) and 429 (RFC 6585) ask to come later, 451
# (RFC 7725) depends on where the checker stands, 999 is LinkedIn's and its imitators'.
BY_STATUS: Mapping[int, Outcome] = {
    404: GONE,
    410: GONE,
    408: TOO_SLOW,
    **dict.fromkeys((401, 402, 403, 405, 406, 407, 418, 425, 429, 451, 999), NOT_WELCOME),
}
# The checker follows redirects and asks without conditions, so that 3xx is an answer without a
# page too. All else, as 100 or 600, is none that HTTP knows.
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
# With these a host says that it is asked too much.
THROTTLE_STATUSES = (429, 503)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckState:
    """What is stored of an address before a check, by the offer's columns."""

    url_status: str
    url_checked_at: datetime.datetime | None = None
    url_failing_since: datetime.datetime | None = None
    url_strikes: int = 0
    url_struck_first_at: datetime.datetime | None = None
    url_struck_last_at: datetime.datetime | None = None


STATE_COLUMNS = tuple(field.name for field in dataclasses.fields(CheckState))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict(CheckState):
    """What is stored after a check: the state, and what people are told."""

    url_checked_at: datetime.datetime
    http_status: int | None
    url_detail: str
    url_check_at: datetime.datetime


def outcome_of(answer: FetchResult) -> Outcome:
    """Return what kind of answer it is."""
    if answer.sets_cookies:
        # A gate that tells browsers from other visitors: people may get in.
        return NOT_WELCOME
    if answer.failure is not None:
        return BY_FAILURE[answer.failure]
    if answer.bot_wall:
        return NOT_WELCOME
    status = answer.status or 0
    return BY_STATUS.get(status) or BY_HUNDRED.get(status // 100, FAILS)


def is_throttled(answer: FetchResult) -> bool:
    """Return whether the host says that it is asked too much: the next request has to wait."""
    return answer.failure is None and (
        answer.status in THROTTLE_STATUSES or answer.bot_wall is not None
    )


def hosts_to_reset(answer: FetchResult, asked: Collection[str]) -> set[str]:
    """Return which of the hosts asked on the way to an answer have answered without objecting.

    Those before the last one have: they led on. The next pause of each is a short one again.
    """
    is_welcome = answer.failure is None and not is_throttled(answer)
    return set(asked) if is_welcome else set(asked) - {answer.host}


def judge(
    state: CheckState, answer: FetchResult, *, now: datetime.datetime, jitter: float
) -> Verdict:
    """Return what is to be stored after a check whose answer came at ``now``.

    ``jitter`` is a random number from -1 to 1.
    """
    outcome = outcome_of(answer)
    status, struck = _decide(state, outcome, now)
    is_failing = status in FAILING
    # Kept when one way of failing follows another; a person's verdict has none to keep.
    since = (state.url_failing_since or struck.first_at or now) if is_failing else None
    wait = _wait(outcome, failing_for=now - since if since else None, jitter=jitter)
    if answer.retry_after:
        wait = max(wait, min(answer.retry_after, MAX_POSTPONEMENT))
    return Verdict(
        url_status=status,
        http_status=answer.status,
        url_checked_at=now,
        url_failing_since=since,
        url_detail=_detail(answer, outcome, status=status, was=state.url_status),
        url_check_at=now + wait,
        url_strikes=struck.strikes,
        url_struck_first_at=struck.first_at,
        url_struck_last_at=struck.last_at,
    )


@dataclasses.dataclass(frozen=True)
class _Strikes:
    """Strikes in a row, and when the first and the last of them was."""

    strikes: int = 0
    first_at: datetime.datetime | None = None
    last_at: datetime.datetime | None = None

    def again(self, strikes: int, now: datetime.datetime) -> _Strikes:
        """Return the row with another strike, unless the last one is too fresh for that."""
        if self.last_at and now - self.last_at < SPACING:
            return self
        return _Strikes(min(self.strikes + strikes, STRIKES_FOR_VERDICT), self.first_at or now, now)


def _decide(state: CheckState, outcome: Outcome, now: datetime.datetime) -> tuple[str, _Strikes]:
    """Return the URL status after a outcome, and the strikes."""
    struck = _strikes_so_far(state, now)
    if outcome.url_status is None:
        is_known = state.url_status != UrlStatus.UNCHECKED
        return (state.url_status if is_known else UrlStatus.BLOCKED.value), struck
    if not outcome.strikes:
        return outcome.url_status.value, _Strikes()
    struck = struck.again(outcome.strikes, now)
    # A row that was long enough stays so: what fails already shows at once how it fails now.
    is_decided = struck.strikes >= STRIKES_FOR_VERDICT
    return (outcome.url_status.value if is_decided else state.url_status), struck


def _strikes_so_far(state: CheckState, now: datetime.datetime) -> _Strikes:
    """Return the strikes that still count."""
    last_at = state.url_struck_last_at
    if state.url_status not in FAILING:
        # Only a person takes a failing verdict away and leaves since when it failed.
        is_overruled = state.url_failing_since is not None
        if is_overruled or last_at is None or now - last_at > STRIKES_EXPIRE_AFTER:
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


def _detail(answer: FetchResult, outcome: Outcome, *, status: str, was: str) -> str:
    """Return one sentence that says why the status is what it is.

    Where all is well, only a hint that the page itself gives, else nothing.
    """
    if outcome is WORKS:
        return hint_of(answer.body) or ""
    told = answer.detail.rstrip(".")
    if outcome.url_status is None:
        if answer.bot_wall:
            wall = f"a barrier ({answer.bot_wall})"
            told = f"The shop shows automatic visitors {wall} instead of the page"
        elif answer.failure is not Failure.UNREADABLE:
            told += ": it does not let the checker in"
        if status == was and status != UrlStatus.BLOCKED:
            told += ", so the last status stays"
    elif status not in FAILING:
        told += "; confirming with more checks"
    return f"{told[: MAX_DETAIL_LENGTH - 1]}."


# --- Hints ---

# In lower case, as the title or the first heading of a page has them. English, German, French,
# Spanish, Italian, Dutch, Polish, Portuguese,
# Swedish and Danish shops answer 200 with them (a "soft 404").
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
# Of services that hold domains for sale.
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
# Where the scripts and frames of such services come from, in the source in lower case.
PARKED_MARKS = (
    b"sedoparking.com",
    b"parkingcrew.net",
    b"bodis.com",
    b"hugedomains.com/domain_profile",
    b"afternic.com/forsale",
    b"wsimg.com/parking-lander",
)

_HEADING = re.compile(r"<(title|h1)\b[^>]{0,300}>(.{0,500}?)</\1", re.IGNORECASE | re.DOTALL)
_NAME_FOR_SALE = re.compile(r"\b[a-z0-9-]+\.[a-z]{2,24} is for sale")
_TAG = re.compile(r"<[^>]{0,300}>")


def hint_of(body: bytes) -> str | None:
    """Return a sentence about the beginning of a page, or ``None``; never the page's own words."""
    if any(mark in body.lower() for mark in PARKED_MARKS):
        return "The page opens, but looks like a parked domain."
    for found in _HEADING.finditer(_decoded(body)):
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
        if found[1].lower() == "h1":
            break
    return None


def _decoded(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    # Old pages are in another encoding, and a page that is cut off may end within a letter.
    is_other = "\ufffd" in text[:-1]
    return body.decode("windows-1252", "replace") if is_other else text
