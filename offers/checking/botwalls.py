"""Pages that firewalls show instead of a shop's own, to tell people from machines.

They often come with 200, and say nothing about the page behind them. A shop's own page must never
be taken for one, as many embed a captcha or a firewall's script: a header that only a challenge
has is enough; a body has to be short, show little text, and bear a mark that the firewall's own
pages alone have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

# Header, value it has in a challenge, whose it is.
HEADERS: tuple[tuple[str, str, str], ...] = (
    ("cf-mitigated", "challenge", "Cloudflare"),
    ("x-amzn-waf-action", "challenge", "AWS WAF"),
    ("x-amzn-waf-action", "captcha", "AWS WAF"),
    ("x-vercel-mitigated", "challenge", "Vercel"),
)
# The whole title, in lower case.
TITLES: Mapping[str, str] = {
    "just a moment...": "Cloudflare",
    "attention required! | cloudflare": "Cloudflare",
    "ddos-guard": "DDoS-Guard",
    "access denied": "a firewall",
    "request rejected": "F5",
    "you have been blocked": "DataDome",
    "radware bot manager captcha": "Radware",
    "radware captcha page": "Radware",
    "bot verification": "LiteSpeed",
    "client challenge": "Fastly",
    "web page blocked!": "FortiWeb",
    "web page blocked": "FortiWeb",
    "just a second...": "a firewall",
    "verifying your browser": "a firewall",
    "access to this page has been denied": "HUMAN",
    "access to this page has been denied.": "HUMAN",
    "pardon our interruption": "Imperva",
    "pardon our interruption...": "Imperva",
    "robot check": "a captcha",
    "robot or human?": "a captcha",
    "are you a robot?": "a captcha",
    "human verification": "a captcha",
    "captcha": "a captcha",
    "security check": "a captcha",
    "vercel security checkpoint": "Vercel",
    "you are being redirected...": "Sucuri",
    "one moment, please...": "a firewall",
    "checking your browser": "a firewall",
}
# Part of the page's source, in lower case. Scripts that firewalls put into ordinary pages as well
# (cdn-cgi/challenge-platform, _Incapsula_Resource, px.js, recaptcha/api.js) are no marks.
MARKS: Mapping[bytes, str] = {
    b"window._cf_chl_opt": "Cloudflare",
    b"incapsula incident id": "Imperva",
    b"errors.edgesuite.net": "Akamai",
    b"the requested url was rejected. please consult": "F5",
    b"/_fs-ch-": "Fastly",
    b"perfdrive.com": "Radware",
    b"sec-if-cpt-container": "Akamai",
    b"bm-verify=": "Akamai",
    b'id="px-captcha"': "HUMAN",
    b"geo.captcha-delivery.com": "DataDome",
    b"ct.captcha-delivery.com/c.js": "DataDome",
    b"window.gokuprops": "AWS WAF",
    b"sucuri_cloudproxy_js": "Sucuri",
    b"/errors/validatecaptcha": "a captcha",
    b"window.kpsdk={}": "Kasada",
}
# A barrier says a sentence or two.
MOST_TEXT = 1_200
# A longer body is a shop's page, of which the beginning need not show anything yet.
LONGEST_BODY = 48 * 1024

# In a source in lower case, as are the names below.
_TITLE = re.compile(rb"<title[^>]{0,200}>([^<]{0,200})</title")
_SILENT = (b"script", b"style", b"template", b"svg", b"head")


def wall_of(headers: Mapping[str, str], body: bytes) -> str | None:
    """Return whose barrier an answer is, in words for a person, or None for any other answer.

    Given are its header fields, by names in lower case, and the beginning of its body.
    """
    for header, value, whose in HEADERS:
        if headers.get(header, "").lower() == value:
            return whose
    if not body or len(body) > LONGEST_BODY or not _is_html(headers, body):
        return None
    source = body.lower()
    whose_mark = _whose_title(source) or next(
        (whose for mark, whose in MARKS.items() if mark in source), None
    )
    return whose_mark if whose_mark and _has_little_text(source) else None


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    content_type = headers.get("content-type", "")
    if content_type:
        return "html" in content_type.lower()
    return body.lstrip()[:1] == b"<"


def _whose_title(source: bytes) -> str | None:
    found = _TITLE.search(source)
    if found is None:
        return None
    title = b" ".join(found.group(1).split()).decode("utf-8", "replace")
    return TITLES.get(title.replace("\u2026", "...").replace("&hellip;", "..."))


def _has_little_text(source: bytes) -> bool:
    """Return whether a person would see but a few words."""
    length = 0
    for text in _visible(source):
        length += len(b" ".join(text.split()))
        if length > MOST_TEXT:
            return False
    return True


def _visible(source: bytes) -> Iterator[bytes]:
    """Yield the text between the tags; each byte is passed once, whatever the source."""
    place = 0
    while (start := source.find(b"<", place)) >= 0:
        yield source[place:start]
        if source.startswith(b"<!--", start):
            end = source.find(b"-->", start + 4)
        else:
            name = re.match(rb"[a-z]+", source[start + 1 : start + 10])
            silent = name is not None and name.group() in _SILENT
            # The end of the element, or of the tag.
            inner = source.find(b"</" + name.group(), start) if name and silent else start
            end = source.find(b">", inner) if inner >= 0 else -1
        if end < 0:
            return
        place = end + 1
    yield source[place:]
