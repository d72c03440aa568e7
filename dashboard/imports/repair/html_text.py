"""Turns HTML into text."""

from __future__ import annotations

import re
from html.entities import html5
from html.parser import HTMLParser

HTML = "HTML in descriptions turned into text"

# The elements by which a text is recognized as HTML: what editors of shops and PIMs write.
_ELEMENTS = (
    "a|abbr|article|aside|b|big|blockquote|body|br|center|code|dd|del|details|div|dl|dt|em|"
    "figcaption|figure|font|footer|h[1-6]|head|header|hr|html|i|iframe|img|ins|li|link|main|mark|"
    "meta|nav|object|ol|p|pre|s|script|section|small|span|strike|strong|style|sub|summary|sup|"
    "table|tbody|td|tfoot|th|thead|title|tr|u|ul|video"
)
_VALUE = r"""\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=]+)"""
_NAME = r"[^\s<>\"'/=]+"
# Attributes, the first of them with a value: "if a <p and b> c" has no tag.
_ATTRIBUTES = rf"(?:\s+{_NAME}{_VALUE}(?:\s*{_NAME}(?:{_VALUE})?)*+)?+"
_INSIDE = rf"(?:{_ELEMENTS}){_ATTRIBUTES}\s*/?>"
_TAG = re.compile(rf"</?{_INSIDE}", re.IGNORECASE)
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_BLOCK = re.compile(
    "address|article|aside|blockquote|body|br|center|d[dlt]|details|div|fieldset|figcaption|figure|"
    "footer|form|h[1-6]|head|header|hr|html|li|main|nav|ol|p|pre|section|summary|table|tbody|tfoot|"
    "thead|tr|ul"
)
_CELLS = frozenset(("td", "th"))
_DROPPED = frozenset(("head", "script", "style", "template"))
_BULLET = "\u2022 "


def is_html(text: str) -> bool:
    """Whether a text is HTML.

    It has a tag of a known element, or a character reference that ends with a semicolon and is
    known. ``a < b & c``, ``<3`` and ``<brand name>`` are not HTML.
    """
    if "<" in text and _TAG.search(text):
        return True
    return "&" in text and any(_is_known(found[0]) for found in _REFERENCE.finditer(text))


def _is_known(reference: str) -> bool:
    return reference[1] == "#" or reference[1:] in html5


def html_to_text(text: str) -> str:
    """The text of a piece of HTML.

    Blocks and ``<br>`` become line breaks, items of lists begin with a bullet, scripts and styles
    are dropped. Other line breaks and repeated blanks are single blanks, as in a browser.
    """
    reader = _Reader()
    # Only known elements are tags; any other "<" is a character.
    reader.feed(_escape_other_signs(text))
    reader.close()
    return reader.text()


_OTHER_SIGN = re.compile(rf"<(?!/?{_INSIDE})", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->|<!--.*\Z", re.DOTALL)


def _escape_other_signs(text: str) -> str:
    return _OTHER_SIGN.sub("&lt;", _COMMENT.sub("", text))


class _Reader(HTMLParser):
    """Collects the lines of a document."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[list[str]] = [[]]
        self._dropping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line for a block."""
        if tag in _DROPPED:
            self._dropping.append(tag)
        elif _BLOCK.fullmatch(tag):
            self._lines.append([_BULLET] if tag == "li" else [])
        elif tag in _CELLS:
            self._lines[-1].append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a line for a block without content."""
        if _BLOCK.fullmatch(tag):
            self._lines.append([])

    def handle_endtag(self, tag: str) -> None:
        """End the line of a block."""
        if tag in self._dropping:
            del self._dropping[self._dropping.index(tag) :]
        elif _BLOCK.fullmatch(tag) and tag != "br":
            self._lines.append([])

    def handle_data(self, data: str) -> None:
        """Add text to the line."""
        if not self._dropping:
            self._lines[-1].append(data)

    def text(self) -> str:
        """The lines that have text."""
        lines = []
        bullet = ""
        for parts in self._lines:
            line = " ".join("".join(parts).split())
            if line == _BULLET.strip():
                # The item begins with a block: the bullet belongs before the block's text.
                bullet = _BULLET
            elif line:
                lines.append(f"{bullet}{line}")
                bullet = ""
        return "\n".join(lines)
