"""Writes catalogs as programs and spreadsheets leave them: an independent counterpart of imports.

Nothing here calls the service. An :class:`Item` says what is meant, a layout writes it into the
columns of a program, and a :class:`Damage` does to the cells what spreadsheets and people do to
them, as long as what was meant can still be read.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import gzip
import html
import io
import json
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import openpyxl

# A row as its titles and cells; a title may come several times.
Row = list[tuple[str, Any]]

COUNTRIES: Mapping[str, Sequence[str]] = {
    "DE": ("DE", "de", "DEU", "276", "Germany", "Deutschland", "GERMANY", " Allemagne "),
    "AT": ("AT", "AUT", "040", "40", "Austria", "Österreich"),
    "JP": ("JP", "JPN", "392", "Japan", "日本"),
    "CH": ("CH", "756", "Switzerland", "Schweiz", "Suisse"),
    "FR": ("FR", "FRA", "250", "France", "Frankreich"),
    "GB": ("GB", "U.K.", "826", "United Kingdom"),
}
_ENGLISH = {
    "DE": "Germany",
    "AT": "Austria",
    "JP": "Japan",
    "CH": "Switzerland",
    "FR": "France",
    "GB": "United Kingdom",
}
CURRENCIES: Mapping[str, tuple[int, Sequence[str]]] = {
    # Decimals, and what people write before or after an amount.
    "EUR": (2, ("EUR", "€")),
    "USD": (2, ("USD", "US$")),
    "GBP": (2, ("GBP", "£")),
    "JPY": (0, ("JPY",)),
    "KWD": (3, ("KWD",)),
}
NUTRIENTS = (("fat", "g"), ("salt", "g"), ("energy", "kJ"))
TEXTS = (
    *("Oat drink", "Müsli", "Crème brûlée 5 €", "日本茶", "Ñandú & Söhne", "12 % < 15 % & more"),
    *("=1+1", "+Plus", "-5 °C", "@home", "'s Gravenhage", '12" pan', 'a "quoted" word'),
    *("1e5", "00123", "TRUE", "a;b", "a,b", "a|b", "back\\slash", "N/A", "4.00638E+12"),
    *("Æble 🥛", "ﬁne", "m²", "عصير", "Über-Öl"),
)
LINES = (
    "Oats & milk",
    "x < 5 & y > 3",
    "Übergrößen für „Kenner“",
    "- a list",
    "Second line",
    "½ l",
)
BRANDS = ("Nestlé", "Acme Mills", "ÖKO-Hof", "Straße 7", "愛")
CATEGORIES = ("Food", "Snacks > Bars", "Getränke", "Tea & Coffee")
BLANKS = " \u00a0\u2009\u202f\u3000\u200b\ufeff\t"
MARKS = "\u200e\u200f\u202a\u202c\u2066\u2069\u200b\u00ad\u061c"
CDN = "https://images.example.com"
SHOP = "https://shop.example.com"


@dataclasses.dataclass
class Item:
    """What one product of a catalog is meant to be."""

    gtin: str
    number: int
    name: str
    description: str
    brand: str
    manufacturer: str
    category: str
    gpc_brick_code: str
    country_of_origin: str
    net_content: str
    status: str
    serving_size: str
    nutrients: dict[tuple[str, str], Decimal]
    metadata: dict[str, str]
    images: list[str]
    offers: list[dict[str, Any]]
    certificates: list[dict[str, Any]]


def check_digit(digits: str) -> str:
    """The check digit of a GTIN (GS1 General Specifications, section 7.9)."""
    total = sum(int(d) * (3 if place % 2 == 0 else 1) for place, d in enumerate(reversed(digits)))
    return str(-total % 10)


def catalog(random: Random, count: int) -> list[Item]:
    """A catalog with different GTINs of all lengths."""
    items: dict[str, Item] = {}
    while len(items) < count:
        length = random.choice((8, 12, 12, 13, 13, 13, 14))
        first = "".join(random.choice("123456789") for _ in range(1 if length != 12 else 0))
        zeros = "0" * random.choice((0, 0, 1, 2, 3)) if length == 12 else ""
        rest = length - 1 - len(first) - len(zeros)
        body = first + zeros + "".join(random.choice("0123456789") for _ in range(rest))
        gtin = (body + check_digit(body)).zfill(14)
        # Six digits and fewer are never read as a GTIN that lost its zeros.
        if len(gtin.lstrip("0")) >= 7:
            items[gtin] = _item(random, gtin, len(items) + 1)
    return list(items.values())


def _item(random: Random, gtin: str, number: int) -> Item:
    def maybe(texts: Sequence[str]) -> str:
        return random.choice(texts) if random.random() < 0.8 else ""

    images = [f"{CDN}/{number}/{place}.jpg" for place in range(random.choice((0, 1, 1, 2, 3, 5)))]
    if images and random.random() < 0.2:
        images[-1] = f"{CDN}/{number}/my%20photo.jpg?size=2,3"
    return Item(
        gtin,
        number,
        random.choice(TEXTS),
        "\n".join(random.choice(LINES) for _ in range(random.choice((0, 1, 2, 3)))),
        maybe(BRANDS),
        maybe(TEXTS),
        maybe(CATEGORIES),
        maybe(("10000191", "00012345")),
        maybe(tuple(COUNTRIES)),
        maybe(("500 g", "1 l", "1,5 l", "2 x 30 g")),
        random.choice(("active", "draft", "discontinued")),
        maybe(("30 g", "1 Tasse (250 ml)")),
        {
            key: Decimal(random.choice(("0", "0.5", "1.25", "12", "1046", "1046.5", "100000")))
            for key in NUTRIENTS
            if random.random() < 0.7
        },
        {key: random.choice(TEXTS) for key in ("season", "Größe", "a.b") if random.random() < 0.5},
        images,
        [_offer(random, number, place) for place in range(random.choice((0, 1, 1, 2)))],
        [_certificate(random, place) for place in range(random.choice((0, 0, 1, 2)))],
    )


def _offer(random: Random, number: int, place: int) -> dict[str, Any]:
    currency = random.choice(tuple(CURRENCIES))
    step = Decimal(1).scaleb(-CURRENCIES[currency][0])
    amount = Decimal(random.choice(("0", "0.995", "12.5", "1234.5", "99", "1234567.125")))
    has_price = random.random() < 0.8
    return {
        "retailer": random.choice(("", "Acme Shop", "Käse & Co", "+Markt")),
        "store": "",
        "sku": f"00{number}-{place}",
        "url": f"{SHOP}/{number}/{place}?a=1&b=2",
        "price": amount.quantize(step) if has_price else None,
        "currency": currency if has_price else "",
        "status": random.choice(("active", "out_of_stock", "discontinued", "seasonal")),
    }


def _certificate(random: Random, place: int) -> dict[str, Any]:
    begins = datetime.date(2024, random.randint(1, 12), random.randint(1, 28))
    return {
        "certification": random.choice(("eu-organic", "Vegan", "ENERGY")),
        "number": f"0{place}/{random.randint(1, 999)}",
        "body": random.choice(("", "DE-ÖKO-007", "Control Union")),
        "valid_from": random.choice((None, begins)),
        "expiry_date": random.choice((None, begins + datetime.timedelta(days=400))),
        "verification_url": random.choice(("", "https://certificates.example.com/1")),
    }


class Damage:
    """What happens to the cells of one file.

    ``has_commas``: the file writes decimal commas. ``is_typed``: the file has cells for numbers and
    dates. ``is_escaped``: apostrophes protect spreadsheets from formulas.
    """

    def __init__(
        self,
        random: Random,
        *,
        is_typed: bool = False,
        is_escaped: bool = False,
    ) -> None:
        self.random = random
        self.is_typed = is_typed
        self.is_escaped = is_escaped
        self.has_commas = not is_typed and random.random() < 0.4
        self.dates = random.choice(("iso", "time", "slashes", "points", "named", "us", "mixed"))

    def some(self, share: float = 0.3) -> bool:
        """Whether something happens to this cell."""
        return self.random.random() < share

    def around(self, text: str, characters: str = BLANKS) -> str:
        """A text with blanks around it."""
        before = "".join(self.random.choice(characters) for _ in range(self.random.choice((0, 1))))
        after = "".join(self.random.choice(characters) for _ in range(self.random.choice((0, 2))))
        return f"{before}{text}{after}"

    def text(self, text: str) -> str:
        """A text of one line or several."""
        if not text:
            return self.random.choice(("", "", " ", "\u00a0"))
        if self.is_escaped and text[0] in "=+-@":
            return f"'{text}"
        if self.some():
            text = unicodedata.normalize("NFD", text)
        return self.around(text) if self.some() else text

    def description(self, text: str) -> str:
        """A description, sometimes in HTML."""
        if not text or not self.some(0.5):
            return self.text(text)
        lines = [html.escape(line) for line in text.split("\n")]
        if self.some():
            lines = [line.replace("Ü", "&Uuml;").replace("½", "&#189;") for line in lines]
        return self.random.choice(
            (
                "<p>" + "<br>".join(lines) + "</p>",
                "<br/>\n".join(f"<b>{line}</b>" for line in lines),
                "".join(f'<div class="x">{line}</div>\n' for line in lines),
                "<script>alert('1 < 2')</script><P>" + "</P><P>".join(lines),
            )
        )

    def brand(self, brand: str) -> str:
        """A brand, as someone else writes the same one."""
        if not brand or not self.some():
            return brand
        return self.random.choice(
            (
                brand.upper(),
                unicodedata.normalize("NFD", brand),
                brand.replace(" ", "  "),
                brand[:2] + "\u00ad" + brand[2:] if brand.isalpha() else brand,
                f"{brand}\u00a0",
            )
        )

    def gtin(self, gtin: str, *, may_be_upc_e: bool = False, keeps_shape: bool = False) -> Any:
        """A GTIN of 14 digits as a spreadsheet leaves it.

        ``may_be_upc_e``: the title of the column says UPC, so eight digits may mean another number.
        """
        short = gtin.lstrip("0")
        forms = [gtin, short.zfill(13), short.zfill(12)] + [short] * 3
        if len(short) <= 8 and not may_be_upc_e:
            forms.append(short.zfill(8))
        forms = [form for form in forms if len(form) in (8, 12, 13, 14) or self._is_clear(form)]
        if may_be_upc_e:
            forms = [form for form in forms if len(form) > 8] or [gtin]
        digits = self.random.choice(forms)
        if keeps_shape:
            return digits
        if self.is_typed and not digits.startswith("0") and self.some(0.5):
            return int(digits)
        middle = len(digits) // 2
        kinds: Sequence[Callable[[], str]] = (
            lambda: digits,
            lambda: digits,
            lambda: self.around(digits, BLANKS + MARKS),
            lambda: f"{digits[0]} {digits[1:middle]}\u00a0{digits[middle:]}",
            lambda: f"\u202a{digits[:middle]}\u200b{digits[middle:]}\u202c",
            lambda: f"{digits[:3]}-{digits[3:middle]}\u2010{digits[middle:]}",
            lambda: f"'{digits}",
            lambda: f'="{digits}"',
            lambda: f"{digits}.0",
            lambda: f"{digits},0",
            lambda: f"{short[0]}.{short[1:]}E+{len(short) - 1}" if short in forms else digits,
        )
        return self.random.choice(kinds)()

    @staticmethod
    def _is_clear(digits: str) -> bool:
        """Whether shortened digits are not an ISBN-10 as well."""
        if len(digits) != 10:
            return len(digits) in (7, 9, 11)
        weights = range(10, 0, -1)
        return sum(weight * int(d) for weight, d in zip(weights, digits, strict=True)) % 11 != 0

    def country(self, code: str) -> str:
        """A country by code, number or name."""
        return self.random.choice(COUNTRIES[code]) if code else ""

    def number(self, number: Decimal) -> Any:
        """An amount, in the way of the whole file."""
        if self.is_typed and self.some(0.6):
            return float(number)
        text = f"{number:f}"
        whole, _, fraction = text.partition(".")
        if self.has_commas:
            # A comma before three digits is clear only beside others.
            fraction = fraction.rstrip("0") if len(fraction) == 3 else fraction
            if fraction and len(whole) > 3 and self.some():
                whole = f"{int(whole):,}".replace(",", self.random.choice(".\u00a0' "))
            return f"{whole},{fraction}" if fraction else whole
        if fraction and len(whole) > 3 and self.some() and not self.has_commas:
            whole = f"{int(whole):,}"
        return f"{whole}.{fraction}" if fraction else whole

    def price(self, price: Decimal | None, currency: str, *, has_column: bool) -> Any:
        """A price, with its currency if the file has no column for it."""
        if price is None:
            return ""
        number = self.number(price)
        if not has_column or self.some():
            sign = self.random.choice(CURRENCIES[currency][1])
            number = self.random.choice((f"{number} {sign}", f"{sign} {number}", f"{sign}{number}"))
        return number

    def date(self, date: datetime.date | None) -> Any:
        """A date, in the way of the whole file."""
        if date is None:
            return ""
        if self.is_typed and self.some(0.6):
            return self.random.choice((date, datetime.datetime.combine(date, datetime.time())))
        forms = {
            "iso": "%Y-%m-%d",
            "time": "%Y-%m-%dT00:00:00+00:00",
            "slashes": "%Y/%m/%d",
            "points": "%d.%m.%Y",
            "named": "%d %b %Y",
            # Only where the day proves the order.
            "us": "%m/%d/%Y" if date.day > 12 else "%Y-%m-%d",
        }
        kind = self.dates
        if kind == "mixed":
            kind = self.random.choice(("iso", "slashes", "points", "named"))
        return date.strftime(forms[kind])

    def images(self, urls: Sequence[str]) -> str:
        """Several addresses in one cell."""
        shown = [self.image(url) for url in urls]
        if shown and self.some(0.2):
            shown.append(shown[0])
        return self.random.choice((", ", ",", "; ", "|", " ", "\n", " , ")).join(shown)

    def image(self, url: str) -> str:
        """An address as people paste it."""
        if self.some(0.2):
            url = url.removeprefix("https:")
        return url.replace("%20", " ") if self.some(0.5) else url

    def title(self, title: str) -> str:
        """The title of a column, whose case and blanks do not matter."""
        known, colon, own = title.partition(":")
        if self.some(0.2):
            known = known.upper() if self.some(0.5) else f" {known} "
        if "_" in known and self.some(0.2):
            known = known.replace("_", " ")
        return f"{known}{colon}{own}"


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """A program's columns: its rows for an item, and which fields of the item they carry.

    ``max_offers`` and ``max_certificates`` are those of one item. ``formats`` are those in which
    the program's files come.
    """

    rows: Callable[[Item, Damage], list[Row]]
    texts: Sequence[str] = ()
    formats: Sequence[str] = ("delimited", "xlsx", "ods", "json")
    has_images: bool = True
    nutrients: Sequence[tuple[str, str]] = ()
    has_metadata: bool = False
    max_offers: int = 0
    offer_fields: Sequence[str] = ()
    max_certificates: int = 0
    certificate_fields: Sequence[str] = ()
    creates_products: bool = True
    statuses: Mapping[str, str] | None = None
    above: Sequence[Sequence[str]] = ()
    is_grouped: bool = False


def _csv(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("gtin", damage.gtin(item.gtin)),
            ("name", damage.text(item.name)),
            ("description", damage.description(item.description)),
            ("brand", damage.brand(item.brand)),
            ("manufacturer", damage.text(item.manufacturer)),
            ("category", damage.text(item.category)),
            ("gpc_brick_code", item.gpc_brick_code),
            ("country_of_origin", damage.country(item.country_of_origin)),
            ("net_content", damage.text(item.net_content)),
            ("status", damage.random.choice((item.status, item.status.upper()))),
            ("image_url", damage.images(item.images)),
            ("serving_size", damage.text(item.serving_size)),
            *(
                (f"nutrient:{name}:{unit}", _amount(damage, item, name, unit))
                for name, unit in NUTRIENTS
            ),
            *((f"metadata:{key}", damage.text(value)) for key, value in item.metadata.items()),
        ]
    ]


def _amount(damage: Damage, item: Item, name: str, unit: str) -> Any:
    amount = item.nutrients.get((name, unit))
    if amount is None:
        return ""
    number = damage.number(amount)
    return f"{number} {unit}" if isinstance(number, str) and damage.some(0.2) else number


def _own_json(item: Item, damage: Damage) -> list[Row]:
    row: Row = [
        ("gtin", damage.gtin(item.gtin)),
        ("name", damage.text(item.name)),
        ("description", damage.description(item.description)),
        ("brand", damage.brand(item.brand)),
        ("manufacturer", damage.text(item.manufacturer) or None),
        ("category", item.category),
        ("gpc_brick_code", item.gpc_brick_code),
        ("country_of_origin", damage.country(item.country_of_origin)),
        ("net_content", item.net_content),
        ("status", item.status),
        (
            "nutrition",
            {
                "serving_size": item.serving_size,
                "nutrients": [
                    {"name": name, "amount": f"{amount:f}", "unit": unit}
                    for (name, unit), amount in item.nutrients.items()
                ],
            },
        ),
        ("metadata", item.metadata),
    ]
    if damage.some(0.5):
        row.append(("image_urls", item.images))
    else:
        row.append(("image_url", damage.images(item.images)))
    return [row]


def _open_food_facts(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("code", damage.gtin(item.gtin)),
            ("product_name", damage.text(item.name)),
            ("generic_name", damage.description(item.description)),
            ("brands", f"{damage.brand(item.brand)},Other" if item.brand else ""),
            ("main_category_en", damage.text(item.category)),
            ("origins", _ENGLISH.get(item.country_of_origin, "")),
            ("quantity", item.net_content),
            ("serving_size", item.serving_size),
            ("image_url", "".join(item.images[:1])),
            *(
                (f"{name}_100g", "" if amount is None else f"{amount:f}")
                for name in ("fat", "salt")
                for amount in [item.nutrients.get((name, "g"))]
            ),
        ]
    ]


def _google(item: Item, damage: Damage) -> list[Row]:
    offer = item.offers[0] if item.offers else {}
    others = item.images[1:]
    cut = damage.random.randint(0, len(others))
    availability = {
        "active": ("in_stock", "in stock", "preorder", "https://schema.org/InStock"),
        "out_of_stock": ("out_of_stock", "out of stock"),
        "discontinued": ("discontinued",),
        "seasonal": ("seasonal",),
    }
    return [
        [
            ("id", offer.get("sku", "")),
            ("title", damage.text(item.name)),
            ("description", damage.description(item.description)),
            ("link", offer.get("url", "")),
            ("image_link", "".join(map(damage.image, item.images[:1]))),
            *(("additional_image_link", damage.image(url)) for url in others[:cut]),
            ("additional_image_link", damage.images(others[cut:])),
            ("availability", damage.random.choice(availability[offer.get("status", "active")])),
            (
                "price",
                damage.price(offer.get("price"), offer.get("currency", ""), has_column=False),
            ),
            ("brand", damage.brand(item.brand)),
            ("gtin", damage.gtin(item.gtin)),
            ("product_type", damage.text(item.category)),
            (
                "certification",
                ", ".join(
                    f"{each['body']}:{each['certification']}:{each['number']}"
                    for each in item.certificates
                ),
            ),
        ]
    ]


def _shopify(
    titles: Sequence[str],
) -> Callable[[Item, Damage], list[Row]]:
    handle, title, body, vendor, category, barcode, image, status = titles

    def rows(item: Item, damage: Damage) -> list[Row]:
        first: Row = [
            (handle, f"item-{item.number}"),
            (title, damage.text(item.name)),
            (body, damage.description(item.description)),
            (vendor, damage.brand(item.brand)),
            (category, damage.text(item.category)),
            (barcode, damage.gtin(item.gtin)),
            (image, "".join(map(damage.image, item.images[:1]))),
            (
                status,
                {"active": "active", "draft": "Draft", "discontinued": "archived"}[item.status],
            ),
        ]
        further: list[Row] = [
            [(handle, f"item-{item.number}"), (image, damage.image(url))] for url in item.images[1:]
        ]
        return [first, *further]

    return rows


def _woocommerce(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("ID", str(item.number)),
            ("GTIN, UPC, EAN, or ISBN", damage.gtin(item.gtin, may_be_upc_e=True)),
            ("Name", damage.text(item.name)),
            ("Published", {"active": "1", "draft": "0"}[item.status]),
            ("Description", damage.description(item.description)),
            ("Brands", damage.brand(item.brand)),
            ("Categories", f"{item.category}, Other" if item.category else ""),
            ("Images", damage.images(item.images)),
        ]
    ]


def _prestashop(item: Item, damage: Damage) -> list[Row]:
    item.manufacturer = item.brand
    return [
        [
            ("Product ID", str(item.number)),
            ("Active (0/1)", {"active": "1", "draft": "0"}[item.status]),
            ("Name *", damage.text(item.name)),
            ("Categories (x,y,z...)", item.category),
            ("EAN13", damage.gtin(item.gtin)),
            ("UPC", ""),
            ("Description", damage.description(item.description)),
            ("Manufacturer", item.brand),
            ("Image URLs (x,y,z...)", damage.images(item.images)),
        ]
    ]


def _magento(item: Item, damage: Damage) -> list[Row]:
    maker = item.manufacturer.replace('"', "").replace(",", " ")
    attributes = [f"ean={damage.gtin(item.gtin, keeps_shape=True)}", "size=1"]
    if item.brand:
        attributes.append(f"brand={damage.brand(item.brand)}")
    if maker:
        attributes.append(f'"manufacturer={maker}"')
    item.manufacturer = maker
    sku = f"M{item.number}"
    row: Row = [
        ("sku", sku),
        ("store_view_code", ""),
        ("attribute_set_code", "Default"),
        ("categories", item.category),
        ("name", damage.text(item.name)),
        ("description", damage.description(item.description)),
        ("product_online", {"active": "1", "draft": "2"}[item.status]),
        ("base_image", "".join(item.images[:1])),
        ("additional_images", ",".join(item.images[1:])),
        ("country_of_manufacture", damage.country(item.country_of_origin)),
        ("additional_attributes", ",".join(attributes)),
    ]
    view: Row = [("sku", sku), ("store_view_code", "de"), ("name", "Other language")]
    return [row, view] if damage.some() else [row]


def _square(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("Token", f"T{item.number}"),
            ("Item Name", damage.text(item.name)),
            ("Variation Name", "Regular"),
            ("Description", damage.description(item.description)),
            ("Category", damage.text(item.category)),
            ("GTIN", damage.gtin(item.gtin)),
        ]
    ]


def _amazon(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("item_sku", f"A{item.number}"),
            ("external_product_id", damage.gtin(item.gtin)),
            ("external_product_id_type", damage.random.choice(("EAN", "UPC", "GTIN", "ean"))),
            ("item_name", damage.text(item.name)),
            ("manufacturer", damage.text(item.manufacturer)),
            ("product_description", damage.description(item.description)),
            ("brand_name", damage.brand(item.brand)),
            ("country_of_origin", damage.country(item.country_of_origin)),
            ("main_image_url", "".join(map(damage.image, item.images[:1]))),
            *(
                (f"other_image_url{place}", "".join(map(damage.image, item.images[place:][:1])))
                for place in range(1, 6)
            ),
            ("update_delete", {"active": "Update", "discontinued": "Delete"}[item.status]),
        ]
    ]


def _akeneo(item: Item, damage: Damage) -> list[Row]:
    number, _, unit = item.net_content.partition(" ")
    return [
        [
            ("sku", f"K{item.number}"),
            ("categories", item.category),
            ("enabled", {"active": "1", "draft": "0"}[item.status]),
            ("family", "food"),
            ("groups", ""),
            ("ean", damage.gtin(item.gtin)),
            ("name-de_DE", "Anderer Name"),
            ("name-en_US", damage.text(item.name)),
            ("description-en_US-ecommerce", damage.description(item.description)),
            ("brand", damage.brand(item.brand)),
            ("manufacturer", damage.text(item.manufacturer)),
            ("country_of_origin", damage.country(item.country_of_origin)),
            ("weight", f"{number}.0000" if number.isdigit() and unit == "g" else number),
            ("weight-unit", "GRAM" if unit == "g" else unit),
            ("image", "".join(map(damage.image, item.images[:1]))),
            ("picture", damage.images(item.images[1:])),
        ]
    ]


def _usda(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("fdc_id", str(1000 + item.number)),
            ("gtin_upc", damage.gtin(item.gtin, may_be_upc_e=True)),
            ("brand_owner", damage.text(item.manufacturer)),
            ("brand_name", damage.brand(item.brand)),
            ("branded_food_category", damage.text(item.category)),
            ("package_weight", damage.text(item.net_content)),
            ("serving_size", "30.0" if item.serving_size == "30 g" else item.serving_size),
            ("serving_size_unit", "g" if item.serving_size == "30 g" else ""),
            ("short_description", damage.description(item.description)),
            ("discontinued_date", "2024-01-01" if item.status == "discontinued" else ""),
        ]
    ]


def _etsy(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("TITLE", damage.text(item.name)),
            ("DESCRIPTION", damage.description(item.description)),
            ("CURRENCY_CODE", "EUR"),
            ("TAGS", "a,b"),
            ("MATERIALS", ""),
            *(
                (f"IMAGE{place + 1}", "".join(map(damage.image, item.images[place:][:1])))
                for place in range(5)
            ),
            ("gtin", damage.gtin(item.gtin)),
        ]
    ]


def _schema_org(item: Item, damage: Damage) -> list[Row]:
    words = {
        "active": "InStock",
        "out_of_stock": "OutOfStock",
        "discontinued": "Discontinued",
        "seasonal": "Seasonal",
    }
    row: Row = [
        ("@context", "https://schema.org"),
        ("@type", "Product"),
        ("gtin13" if len(item.gtin.lstrip("0")) <= 13 else "gtin14", damage.gtin(item.gtin)),
        ("name", damage.text(item.name)),
        ("description", damage.description(item.description)),
        ("brand", {"@type": "Brand", "name": damage.brand(item.brand)} if item.brand else None),
        ("manufacturer", {"name": damage.text(item.manufacturer)}),
        ("category", damage.text(item.category)),
        ("countryOfOrigin", damage.country(item.country_of_origin) or None),
        ("image", item.images),
        (
            "offers",
            [
                {
                    "@type": "Offer",
                    "url": offer["url"],
                    "sku": offer["sku"],
                    "availability": f"https://schema.org/{words[offer['status']]}",
                    **(
                        {"price": f"{offer['price']:f}", "priceCurrency": offer["currency"]}
                        if offer["price"] is not None
                        else {}
                    ),
                }
                for offer in item.offers
            ],
        ),
        (
            "hasCertification",
            [
                {
                    "@type": "Certification",
                    "name": each["certification"],
                    "certificationIdentification": each["number"],
                }
                for each in item.certificates
            ],
        ),
    ]
    return [row]


def _offers(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("gtin", damage.gtin(item.gtin)),
            ("channel", damage.random.choice(("online", ""))),
            ("retailer", damage.text(offer["retailer"])),
            ("store", ""),
            ("sku", offer["sku"]),
            ("url", damage.image(offer["url"])),
            ("price", damage.price(offer["price"], offer["currency"], has_column=True)),
            ("currency", offer["currency"]),
            ("status", offer["status"]),
        ]
        for offer in item.offers
    ]


def _certificates(item: Item, damage: Damage) -> list[Row]:
    return [
        [
            ("gtin", damage.gtin(item.gtin)),
            ("certification", each["certification"]),
            ("certificate_number", each["number"]),
            ("issuing_body", damage.text(each["body"])),
            ("valid_from", damage.date(each["valid_from"])),
            ("expiry_date", damage.date(each["expiry_date"])),
            ("verification_url", damage.image(each["verification_url"])),
        ]
        for each in item.certificates
    ]


def _gs1(item: Item, damage: Damage) -> list[Row]:
    number, _, unit = item.net_content.partition(" ")
    units = {"g": "GRM", "l": "LTR"}
    return [
        [
            ("gtin", damage.gtin(item.gtin)),
            ("brandName", damage.brand(item.brand)),
            ("tradeItemDescription", damage.text(item.name)),
            ("additionalTradeItemDescription", damage.description(item.description)),
            ("manufacturerOfTradeItem/partyName", damage.text(item.manufacturer)),
            ("gpcCategoryCode", item.gpc_brick_code),
            ("gpcCategoryName", damage.text(item.category)),
            ("countryOfOrigin/countryCode", damage.country(item.country_of_origin)),
            (f"netContent@{units.get(unit, unit)}", number),
            *(("referencedFileHeader/uniformResourceIdentifier", url) for url in item.images),
        ]
    ]


_ALL = (
    *("name", "description", "brand", "manufacturer", "category", "gpc_brick_code"),
    *("country_of_origin", "net_content", "status"),
)
_PAGE = ("name", "description", "brand", "category")
_KEY = ("url", "sku", "price", "currency", "status")
_ONLINE = {"active": "active", "draft": "draft", "discontinued": "draft"}

LAYOUTS: Mapping[str, FileLayout] = {
    "csv": FileLayout(_csv, (*_ALL, "serving_size"), nutrients=NUTRIENTS, has_metadata=True),
    "jsonl": FileLayout(
        _own_json,
        (*_ALL, "serving_size"),
        formats=("json", "lines"),
        nutrients=NUTRIENTS,
        has_metadata=True,
    ),
    "openfoodfacts": FileLayout(
        _open_food_facts,
        (*_PAGE, "country_of_origin", "net_content", "serving_size"),
        formats=("delimited", "xlsx", "ods", "json", "lines"),
        nutrients=(("fat", "g"), ("salt", "g")),
    ),
    "google": FileLayout(
        _google,
        _PAGE,
        formats=("delimited", "xlsx", "ods", "json", "lines", "rss", "atom"),
        max_offers=1,
        offer_fields=_KEY,
        max_certificates=2,
        certificate_fields=("certification", "number", "body"),
    ),
    "shopify until 2025": FileLayout(
        _shopify(
            (
                *("Handle", "Title", "Body (HTML)", "Vendor", "Product Category"),
                *("Variant Barcode", "Image Src", "Status"),
            )
        ),
        (*_PAGE, "status"),
        is_grouped=True,
    ),
    "shopify since 2025": FileLayout(
        _shopify(
            (
                *("URL handle", "Title", "Description", "Vendor", "Product category"),
                *("Barcode", "Product image URL", "Status"),
            )
        ),
        (*_PAGE, "status"),
        is_grouped=True,
    ),
    "woocommerce": FileLayout(_woocommerce, (*_PAGE, "status"), statuses=_ONLINE),
    "prestashop": FileLayout(_prestashop, (*_PAGE, "manufacturer", "status"), statuses=_ONLINE),
    "magento": FileLayout(
        _magento,
        (*_PAGE, "manufacturer", "country_of_origin", "status"),
        statuses=_ONLINE,
        is_grouped=True,
    ),
    "square": FileLayout(_square, ("name", "description", "category"), has_images=False),
    "amazon": FileLayout(
        _amazon,
        ("name", "description", "brand", "manufacturer", "country_of_origin", "status"),
        formats=("delimited", "xlsx", "ods"),
        statuses={"active": "active", "draft": "active", "discontinued": "discontinued"},
        above=(("TemplateType=fptcustom", "Version=1"), ("SKU", "Product ID", "Kind", "Title")),
    ),
    "akeneo": FileLayout(
        _akeneo,
        (*_PAGE, "manufacturer", "country_of_origin", "status", "net_content"),
        statuses=_ONLINE,
    ),
    "usda": FileLayout(
        _usda,
        (
            *("description", "brand", "manufacturer", "category", "net_content"),
            *("serving_size", "status"),
        ),
        has_images=False,
        statuses={"active": "active", "draft": "active", "discontinued": "discontinued"},
    ),
    "etsy": FileLayout(_etsy, ("name", "description")),
    "schema_org": FileLayout(
        _schema_org,
        (*_PAGE, "manufacturer", "country_of_origin"),
        formats=("json", "lines"),
        max_offers=1,
        offer_fields=_KEY,
        max_certificates=2,
        certificate_fields=("certification", "number"),
    ),
    "gs1": FileLayout(
        _gs1,
        (*_PAGE, "manufacturer", "gpc_brick_code", "country_of_origin", "net_content"),
        formats=("gs1",),
    ),
    "offers": FileLayout(
        _offers,
        formats=("delimited", "xlsx", "ods", "json", "lines"),
        has_images=False,
        max_offers=2,
        offer_fields=(*_KEY, "retailer"),
        creates_products=False,
    ),
    "certificates": FileLayout(
        _certificates,
        formats=("delimited", "xlsx", "ods", "json", "lines"),
        has_images=False,
        max_certificates=2,
        certificate_fields=(
            *("certification", "number", "body", "valid_from", "expiry_date", "verification_url"),
        ),
        creates_products=False,
    ),
}


def write_catalog(
    path: Path, random: Random, layout: FileLayout, kind: str, items: Sequence[Item]
) -> None:
    """Write a catalog; adapts the items to what the layout can say (``statuses``)."""
    for item in items:
        if layout.statuses:
            item.status = layout.statuses[item.status]
        item.offers = item.offers[: layout.max_offers]
        seen = {}
        for each in item.certificates[: layout.max_certificates]:
            seen[each["certification"], each["number"]] = each
        item.certificates = list(seen.values())
    is_table = kind in ("delimited", "xlsx", "ods")
    damage = Damage(
        random,
        is_typed=kind == "xlsx",
        # Dumps of Open Food Facts protect nothing.
        is_escaped=kind in ("delimited", "xlsx") and layout.rows is not _open_food_facts,
    )
    if not is_table or layout.rows is _open_food_facts or layout.rows is _akeneo:
        damage.has_commas = False
    rows = [row for item in items for row in layout.rows(item, damage)]
    content = _WRITERS[kind](rows, damage, layout)
    path.write_bytes(_packed(content, random))


def _packed(content: bytes, random: Random) -> bytes:
    kind = random.choice(("", "", "gzip", "zip"))
    if kind == "gzip":
        return gzip.compress(content)
    if kind == "zip":
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("catalog", content)
            if random.random() < 0.5:
                packed.writestr("__MACOSX/._catalog", "x")
        return archive.getvalue()
    return content


def _table(
    rows: Sequence[Row], damage: Damage, *, is_grouped: bool
) -> tuple[list[str], list[list[Any]]]:
    """The titles and cells of rows; repeated titles are repeated columns, in any order."""
    repeats: dict[str, int] = {}
    for row in rows:
        for title in {title for title, _ in row}:
            count = sum(each == title for each, _ in row)
            repeats[title] = max(repeats.get(title, 0), count)
    # In the order in which they were given, as a set has none.
    titles = list(dict.fromkeys(title for row in rows for title, _ in row))
    if not is_grouped and damage.some(0.5):
        damage.random.shuffle(titles)
    header = [title for title in titles for _ in range(repeats[title])]
    cells = []
    for row in rows:
        values: dict[str, Iterator[Any]] = {
            title: iter([value for each, value in row if each == title]) for title in titles
        }
        cells.append([next(values[title], "") for title in header])
    return [damage.title(title) for title in header], cells


def _delimited(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    random = damage.random
    header, cells = _table(rows, damage, is_grouped=layout.is_grouped)
    separator = random.choice(",;\t|")
    lines = [list(map(str, header)), *([str(cell) for cell in row] for row in cells)]
    if damage.some(0.4):
        # Missing cells at the end.
        lines = [lines[0], *(_without_end(line) for line in lines[1:])]
    end = random.choice(("\r\n", "\n"))
    style = random.choice(("minimal", "all", "backslash"))
    if style == "backslash" and not any(
        "\\" in cell or "\n" in cell for row in lines for cell in row
    ):
        body = end.join(
            separator.join('"' + cell.replace('"', '\\"') + '"' for cell in line) for line in lines
        )
    else:
        written = io.StringIO(newline="")
        csv.writer(
            written,
            delimiter=separator,
            quoting=csv.QUOTE_ALL if style == "all" else csv.QUOTE_MINIMAL,
            lineterminator=end,
        ).writerows(lines)
        body = written.getvalue()
    above = [separator.join(row) + end for row in layout.above]
    if not above:
        above = random.choice(
            (
                [],
                [],
                [f"sep={separator}{end}"],
                [f"Price list 2026{end}", end],
                [end, separator + end],
            )
        )
    text = "".join(above) + body
    encoding, mark = random.choice(
        (
            ("utf-8", ""),
            ("utf-8", "\ufeff"),
            ("utf-8", "\ufeff\ufeff"),
            ("utf-16", ""),
            ("utf-16-le", "\ufeff"),
            ("utf-16-be", "\ufeff"),
            ("utf-32", ""),
            ("cp1252", ""),
        )
    )
    try:
        return (mark + text).encode(encoding)
    except UnicodeEncodeError:
        return text.encode()


def _without_end(cells: list[str]) -> list[str]:
    while len(cells) > 1 and not cells[-1]:
        cells = cells[:-1]
    return cells


def _above(layout: FileLayout, damage: Damage) -> list[list[str]]:
    rows = [list(row) for row in layout.above]
    return rows or damage.random.choice(([], [], [["Price list 2026"], [""]]))


def _xlsx(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    header, cells = _table(rows, damage, is_grouped=layout.is_grouped)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for number, row in enumerate([*_above(layout, damage), header, *cells], start=1):
        for place, value in enumerate(row, start=1):
            if value in ("", None):
                continue
            cell = sheet.cell(number, place)
            cell.value = value
            if isinstance(value, str):
                # Otherwise it would be a formula.
                cell.data_type = "s"
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _ods(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    header, cells = _table(rows, damage, is_grouped=layout.is_grouped)
    office = "urn:oasis:names:tc:opendocument:xmlns"
    lines = []
    for row in [*_above(layout, damage), header, *cells]:
        inner = "".join(
            '<table:table-cell office:value-type="string">'
            + "".join(f"<text:p>{escape(line)}</text:p>" for line in str(cell).split("\n"))
            + "</table:table-cell>"
            if cell != ""
            else "<table:table-cell/>"
            for cell in row
        )
        lines.append(f"<table:table-row>{inner}</table:table-row>")
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{office}:manifest:1.0"><manifest:file-entry '
            f'manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>',
        )
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{office}:office:1.0" '
            f'xmlns:table="{office}:table:1.0" xmlns:text="{office}:text:1.0"><office:body>'
            f'<office:spreadsheet><table:table table:name="S">{"".join(lines)}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
            zipfile.ZIP_DEFLATED,
        )
    return file.getvalue()


def _object(row: Row) -> dict[str, Any]:
    """A row as an object; repeated titles are a list, and empty cells are left out."""
    found: dict[str, Any] = {}
    for title, value in row:
        if value == "" and title in found:
            continue
        if title not in found:
            found[title] = value
        elif isinstance(found[title], list):
            found[title].append(value)
        else:
            found[title] = [found[title], value]
    return found


def _json(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    objects = [_object(row) for row in rows]
    random = damage.random
    keys = ("products", "items", "results", "data")
    if layout.rows is _schema_org:
        value: Any = random.choice((objects, {"@graph": objects}))
    else:
        value = random.choice((objects, {random.choice(keys): objects, "count": len(objects)}))
    text = json.dumps(value, ensure_ascii=damage.some(), indent=random.choice((None, 1)))
    return text.encode(random.choice(("utf-8", "utf-8-sig", "utf-16")))


def _lines(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    ascii_only = damage.some()
    lines = [json.dumps(_object(row), ensure_ascii=ascii_only) for row in rows]
    return ("\n".join(lines) + "\n").encode(damage.random.choice(("utf-8", "utf-8-sig")))


def _feed(
    rows: Sequence[Row], damage: Damage, before: str, item: str, after: str, *, is_atom: bool
) -> bytes:
    parts = []
    prefix_all = damage.some(0.5)
    for row in rows:
        inner = ""
        for title, value in row:
            if value == "":
                continue
            is_plain = title in ("title", "link", "description", "id") and not prefix_all
            if is_plain and is_atom and title == "link":
                inner += f"<link href={quoteattr(value)}/>"
                continue
            name = title if is_plain else f"g:{title}"
            if is_plain and is_atom and title == "description":
                name = "summary"
            text = f"<![CDATA[{value}]]>" if damage.some(0.2) else escape(str(value))
            inner += f"<{name}>{text}</{name}>\n"
        parts.append(f"<{item}>{inner}</{item}>")
    encoding = damage.random.choice(("UTF-8", "UTF-16"))
    text = f'<?xml version="1.0" encoding="{encoding}"?>{before}{"".join(parts)}{after}'
    return text.encode(encoding)


_GOOGLE_NAMESPACE = 'xmlns:g="http://base.google.com/ns/1.0"'


def _rss(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    before = f'<rss version="2.0" {_GOOGLE_NAMESPACE}><channel><title>Shop</title>'
    return _feed(rows, damage, before, "item", "</channel></rss>", is_atom=False)


def _atom(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    before = f'<feed xmlns="http://www.w3.org/2005/Atom" {_GOOGLE_NAMESPACE}>'
    return _feed(rows, damage, before, "entry", "</feed>", is_atom=True)


def _gs1_message(rows: Sequence[Row], damage: Damage, layout: FileLayout) -> bytes:
    parts = []
    for row in rows:
        inner = ""
        for title, value in row:
            if value == "":
                continue
            name, _, unit = title.partition("@")
            names = name.split("/")
            attribute = f" measurementUnitCode={quoteattr(unit)}" if unit else ""
            opened = "".join(f"<{each}>" for each in names[:-1])
            closed = "".join(f"</{each}>" for each in reversed(names[:-1]))
            last = names[-1]
            inner += f"{opened}<{last}{attribute}>{escape(str(value))}</{last}>{closed}"
        parts.append(f"<catalogueItem><tradeItem>{inner}</tradeItem></catalogueItem>")
    message = "".join(parts)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><c:catalogueItemNotificationMessage '
        f'xmlns:c="urn:gs1:gdsn:catalogue_item_notification:xsd:3">{message}'
        "</c:catalogueItemNotificationMessage>"
    ).encode()


_WRITERS: Mapping[str, Callable[[Sequence[Row], Damage, FileLayout], bytes]] = {
    "delimited": _delimited,
    "xlsx": _xlsx,
    "ods": _ods,
    "json": _json,
    "lines": _lines,
    "rss": _rss,
    "atom": _atom,
    "gs1": _gs1_message,
}
