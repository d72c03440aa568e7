"""The shop of the demo: a Google product feed to paste, and its product pages, on loopback.

The feed looks like one that a shop serves: most products are complete, some have no picture or no
description, a few product pages no longer exist, some GTINs are damaged in ways that an import
repairs, and two have a wrong check digit.
"""

from __future__ import annotations

import html
import random
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from xml.sax.saxutils import escape

from catalog.gtin import check_digit
from dashboard.demo.pictures import SIDE, draw
from dashboard.demo.vocabulary import (
    CATEGORIES,
    CERTIFICATIONS,
    DESCRIPTIONS,
    VARIETIES,
    Package,
)

SHOP = "Harbour Kitchen"
FEED_PATH = "/feed.xml"
PRODUCTS = 80
# Behind all numbers of the demo catalog, which has the same GS1 prefix.
FIRST_NUMBER = 7_000_000_000
WRONG_CHECK_DIGITS = (37, 61)
_SEED = 42
# Seconds that a client may take to send its request.
_REQUEST_TIMEOUT = 10


class ShopProduct(NamedTuple):
    """A product of the shop: the attributes of its feed, without the prefix, and its page."""

    attributes: tuple[tuple[str, str], ...]
    path: str
    page_status: HTTPStatus

    @property
    def title(self) -> str:
        """The name that its page shows."""
        return dict(self.attributes)["title"]


class Shop:
    """The products, and the resources by path, of a shop at an origin such as ``http://host``."""

    def __init__(self, origin: str) -> None:
        generator = random.Random(_SEED)  # noqa: S311 (nothing here is secret)
        self._origin = origin
        # What each picture shows, by its path.
        self._pictures: dict[str, tuple[Package, str]] = {}
        self.products = [self._product(number, generator) for number in range(PRODUCTS)]
        self._pages = {product.path: product for product in self.products}

    @property
    def feed(self) -> str:
        """The feed: RSS 2.0 with the attributes of Google's product data specification."""
        items = "".join(
            "<item>\n"
            + "".join(f"<g:{name}>{escape(text)}</g:{name}>\n" for name, text in product.attributes)
            + "</item>\n"
            for product in self.products
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">\n<channel>\n'
            f"<title>{escape(SHOP)}</title>\n<link>{self._origin}/</link>\n"
            f"<description>All products of {escape(SHOP)}</description>\n"
            f"{items}</channel>\n</rss>\n"
        )

    def respond(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return the status, the media type and the body for a path."""
        if picture := self._pictures.get(path):
            return HTTPStatus.OK, "image/jpeg", draw(*picture, SIDE).picture.content
        status, media_type, text = self._text(path)
        return status, f"{media_type}; charset=utf-8", text.encode()

    def _text(self, path: str) -> tuple[HTTPStatus, str, str]:
        if path == FEED_PATH:
            return HTTPStatus.OK, "application/xml", self.feed
        if path == "/":
            return HTTPStatus.OK, "text/html", _page(SHOP, f"The shop of the demo: {FEED_PATH}")
        product = self._pages.get(path)
        if product is None:
            return HTTPStatus.NOT_FOUND, "text/html", _page("Not found", "No such page.")
        if product.page_status != HTTPStatus.OK:
            return (
                product.page_status,
                "text/html",
                _page("Gone", "No longer sold."),
            )
        return HTTPStatus.OK, "text/html", _page(product.title, "Add to basket")

    def _product(self, number: int, generator: random.Random) -> ShopProduct:
        category = generator.choice(CATEGORIES)
        size = generator.choice(category.sizes)
        variety, noun = generator.choice(VARIETIES), generator.choice(category.items)
        item = f"{variety} {noun}".lstrip()
        digits = f"29{FIRST_NUMBER + number}"
        gtin = digits + check_digit(digits)
        path = f"/products/{gtin}"
        attributes = [
            ("id", f"HK-{number + 1:04d}"),
            ("title", f"{item} {size}"),
            ("link", f"{self._origin}{path}"),
            ("price", f"{generator.randrange(99, 1999) / 100:.2f} EUR"),
            ("availability", "out_of_stock" if generator.random() < 0.06 else "in_stock"),
            ("brand", SHOP),
            ("condition", "new"),
            ("gtin", _as_typed(number, gtin)),
        ]
        if generator.random() < 0.85:
            attributes.append(
                ("description", generator.choice(DESCRIPTIONS).format(item=item, size=size))
            )
        if generator.random() < 0.9:
            image_path = f"/images/{gtin}.jpg"
            attributes.append(("image_link", f"{self._origin}{image_path}"))
            self._pictures[image_path] = (category.package, noun)
        if generator.random() < 0.8:
            attributes.append(("product_type", f"Food > {category.name}"))
        if generator.random() < 0.15:
            certification = generator.choice(CERTIFICATIONS)
            attributes.append(("certification", f"{certification.body}:{certification.label}:"))
        is_gone = generator.random() < 0.04
        return ShopProduct(
            attributes=tuple(attributes),
            path=path,
            page_status=HTTPStatus.GONE if is_gone else HTTPStatus.OK,
        )


class ShopServer:
    """Serves the shop in a thread during a ``with`` block, on a socket that already listens."""

    def __init__(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()
        self.port: int = port
        self.origin = f"http://{host}:{port}"
        self._listener = listener
        self._shop = Shop(self.origin)

    @property
    def feed_url(self) -> str:
        """The address of the feed."""
        return f"{self.origin}{FEED_PATH}"

    def __enter__(self) -> Self:
        server = _Server(self._listener.getsockname(), _Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = self._listener
        server.shop = self._shop
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    shop: Shop


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_TIMEOUT
    server_version = "DemoShop"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        """Send the page, the picture or the feed."""
        self.wfile.write(self._send_head())

    def do_HEAD(self) -> None:
        """Send the head of the same response."""
        self._send_head()

    def _send_head(self) -> bytes:
        """Send status and headers; return the body."""
        status, content_type, body = self.server.shop.respond(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def log_message(self, *_: object) -> None:
        """Log nothing: the terminal belongs to the service."""


def _as_typed(number: int, gtin: str) -> str:
    """Return the GTIN as the feed has it: a few with hyphens or an apostrophe, two wrong."""
    if number in WRONG_CHECK_DIGITS:
        return gtin[:-1] + str((int(gtin[-1]) + 1) % 10)
    if number % 20 == 7:
        return f"{gtin[:2]}-{gtin[2:7]}-{gtin[7:12]}-{gtin[12:]}"
    return f"'{gtin}" if number % 20 == 12 else gtin


def _page(title: str, text: str) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></html>\n"
    )
