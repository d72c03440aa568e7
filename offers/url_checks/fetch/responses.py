"""The result of fetching a URL, before it is judged."""

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

# Limits of the headers that are kept, which are enough to recognize bot walls.
MAX_HEADERS = 64
MAX_HEADER_LENGTH = 512
# The length of `Offer.url_detail`.
MAX_DETAIL_LENGTH = 500
# Longer times are not serious, and could overflow a date.
MAX_RETRY_AFTER = timedelta(days=7)


class Failure(Enum):
    """Why there is no page, if the status does not say so."""

    DNS = "dns"
    CONNECTION = "connection"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    # Browsers may be able to read the response.
    UNREADABLE = "unreadable"
    REDIRECTS = "redirects"
    NOT_ALLOWED = "not_allowed"


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """The result of fetching a URL.

    Look at ``failure`` first. Without one, ``status`` is that of the last response: 200 to 299, or
    400 and above. With one, ``status`` is what was received before the failure, if anything: a page
    that never ended is a ``TIMEOUT`` with status 200.
    """

    # The last URL, after all redirects: canonical, without fragment. The original URL if it is not
    # allowed.
    url: str
    # The last canonical host, to which `retry_after` applies. Empty when there was no request.
    host: str = ""
    status: int | None = None
    failure: Failure | None = None
    # One sentence, of at most MAX_DETAIL_LENGTH characters; never the text of the server,
    # nor anything about the network in which the checker runs.
    detail: str
    # The pause that the host requests, from now: 0 to MAX_RETRY_AFTER.
    retry_after: timedelta | None = None
    # Of the last response: names in lower case, values of the same name joined by ", ".
    headers: Mapping[str, str] = field(default_factory=dict)
    # The beginning of the last response's body; empty if a redirect ended the check.
    body: bytes = b""
    # With REDIRECTS: cookies were set, so a gate for visitors may have caused the loop.
    sets_cookies: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", _one_line(self.detail))

    @cached_property
    def bot_wall(self) -> str | None:
        """The name of the bot wall that the response is, or None.

        Cached, as it reads the whole body.
        """
        return bot_wall_of(self.headers, self.body)


def detail_of_status(status: int) -> str:
    """Return a sentence with the standard phrase of a status; the server's own is not trusted."""
    try:
        return f"The shop returned {status} {HTTPStatus(status).phrase}."
    except ValueError:
        return f"The shop returned {status}."


def kept_headers(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the first headers of a response, from pairs that may repeat names."""
    kept: dict[str, str] = {}
    for name, value in fields[:MAX_HEADERS]:
        key = name.lower()
        joined = f"{kept[key]}, {value}" if key in kept else value
        kept[key] = joined[:MAX_HEADER_LENGTH]
    return kept


def retry_after_of(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """Return the wait in ``Retry-After`` (RFC 9110, section 10.2.3), or ``None``.

    A date is relative to the server's own clock if the response has a ``Date``.
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
    # HTTP dates are in GMT, which some servers omit.
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _one_line(text: str) -> str:
    plain = text
    if not text.isprintable():
        plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= MAX_DETAIL_LENGTH else plain[: MAX_DETAIL_LENGTH - 1] + "…"
