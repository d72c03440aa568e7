"""Reads the forms of a page as a browser submits them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.test import Client


class _Fields(HTMLParser):
    """Collects the values of a page's fields."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self._select = ""
        self._textarea = ""
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "input" and name:
            kind = given.get("type", "text")
            is_off = kind in ("checkbox", "radio") and "checked" not in given
            if kind not in ("submit", "button", "file", "image", "reset") and not is_off:
                self.add(name, given.get("value") or ("on" if kind == "checkbox" else ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in given:
            self.add(self._select, given.get("value") or "")
        elif tag == "textarea":
            self._textarea, self._text = name, ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea" and self._textarea:
            # HTML ignores a newline at the beginning.
            self.add(self._textarea, self._text.removeprefix("\n"))
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self._text += data

    def add(self, name: str, value: str) -> None:
        value = value.replace("\r\n", "\n").replace("\n", "\r\n")
        self.fields.setdefault(name, []).append(value)


def open_form(browser: Client, address: str) -> dict[str, Any]:
    """Return the data that a browser submits for the unchanged form of a page."""
    response = browser.get(address)
    assert response.status_code == 200
    return form_on(response)


def form_on(response: Any) -> dict[str, Any]:
    """Return the data that a browser submits for the form in a response."""
    parser = _Fields()
    parser.feed(response.content.decode())
    return {name: values for name, values in parser.fields.items() if "__prefix__" not in name}
