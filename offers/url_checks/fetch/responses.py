"""What a check has found at an address on the web, before anybody judges it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import cached_property
from http import HTTPStatus

from offers.url_checks.fetch.bot_walls import bot_wall_of

# What of the header fields is kept: enough to know a bot wall by, whatever a server sends.
MAX_HEADERS = 64
MAX_HEADER_LENGTH = 512
# As long as `Offer.url_detail`.
MAX_DETAIL_LENGTH = 500
# Nobody means more; and sums of times stay inside of the calendar.
MAX_RETRY_AFTER = timedelta(days=7)


class Failure(Enum):
    """Why there is no page, when it is not the status that says so."""

    DNS = "dns"
    CONNECTION = "connection"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    # Browsers may understand it all the same.
    UNREADABLE = "unreadable"
    REDIRECTS = "redirects"
    NOT_ALLOWED = "not_allowed"


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """How one check of an address ended.

    Look at ``failure`` first. Without one, ``status`` is the last answer's: 200 to 299, or 400 and
    above. With one, ``status`` is what had come before it failed, if anything: a page whose text
    never ended is a ``TIMEOUT`` with status 200.
    """

    # The address that was asked last, behind all redirects: canonical, without fragment; the
    # address as it was given when it is not allowed.
    url: str
    # The canonical host that was asked last: the one that `retry_after` is about. Empty when none.
    host: str = ""
    status: int | None = None
    failure: Failure | None = None
    # One sentence, of at most MAX_DETAIL_LENGTH characters; never the text of the server,
    # nor anything about the network in which the checker runs.
    detail: str
    # How long the host asks to be left alone, from now on: 0 to MAX_RETRY_AFTER.
    retry_after: timedelta | None = None
    # Names in lower case; values of the same name joined by ", ". Of the last answer.
    headers: Mapping[str, str] = field(default_factory=dict)
    # The beginning of the last answer's body as it came; empty where a redirect ended the check.
    body: bytes = b""
    # With REDIRECTS: cookies were set on the way, so a gate for visitors may be in the way.
    sets_cookies: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", _one_line(self.detail))

    @cached_property
    def bot_wall(self) -> str | None:
        """Whose barrier against automatic visitors it is, in words for a person, if it is one.

        Reading a whole page for it takes a while, and several ask.
        """
        return bot_wall_of(self.headers, self.body)


def detail_of_status(status: int) -> str:
    """Return what a status says, by the standard's words: a server's own are not to be trusted."""
    try:
        return f"The shop answers {status} {HTTPStatus(status).phrase}."
    except ValueError:
        return f"The shop answers {status}."


def kept_headers(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the first header fields of an answer, of pairs that may repeat names."""
    kept: dict[str, str] = {}
    for name, value in fields[:MAX_HEADERS]:
        key = name.lower()
        joined = f"{kept[key]}, {value}" if key in kept else value
        kept[key] = joined[:MAX_HEADER_LENGTH]
    return kept


def retry_after_of(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """Return how long ``Retry-After`` asks to wait (RFC 9110, section 10.2.3), or ``None``.

    A date there is read by the server's own clock where the server tells it (``Date``).
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,9}", text):
        wait = timedelta(seconds=int(text))
    elif (moment := _http_date(text)) is not None:
        wait = moment - (_http_date(headers.get("date", "")) or now)
    else:
        return None
    return min(max(wait, timedelta(0)), MAX_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # The standard's dates are all in GMT, which some servers leave out.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _one_line(text: str) -> str:
    plain = text
    if not text.isprintable():
        plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= MAX_DETAIL_LENGTH else plain[: MAX_DETAIL_LENGTH - 1] + "…"
