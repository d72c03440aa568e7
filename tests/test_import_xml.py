"""XML: feeds with Google's names, GS1 messages, damage and bombs."""

from __future__ import annotations

import gzip
import tempfile
import tracemalloc
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closient.accounts.models import Organization
from dashboard.imports import UnreadableFile
from tests.importing import EAN, UPC, cells, numbers, run, stored, table, write

G = 'xmlns:g="http://base.google.com/ns/1.0"'
RSS = f"""<?xml version="1.0"?>
<rss {G} version="2.0"><channel>
<title>Shop</title><link>https://shop.example.com</link><description>All</description>
<item>
  <title>Oats | Shop</title><g:title>Oats</g:title>
  <link>https://shop.example.com/1</link>
  <description><![CDATA[<p>Whole &amp; good</p>]]></description>
  <g:gtin> {EAN} </g:gtin>
  <g:additional_image_link>https://images.example.com/2.jpg</g:additional_image_link>
  <g:additional_image_link>https://images.example.com/3.jpg</g:additional_image_link>
  <g:shipping><g:country>US</g:country><g:price>1.00 USD</g:price></g:shipping>
  <g:shipping><g:country>CA</g:country><g:price>2.00 CAD</g:price></g:shipping>
</item>
<item><title>Bar &#252;</title><g:gtin>{UPC}</g:gtin><!-- no link --></item>
</channel></rss>
"""
TITLES = [
    "title",
    "gtin",
    "additional_image_link",
    "additional_image_link",
    "shipping:country",
    "shipping:country",
    "shipping:price",
    "shipping:price",
    "link",
    "description",
]
IMAGES = ["https://images.example.com/2.jpg", "https://images.example.com/3.jpg"]
ROWS = [
    [
        *("Oats", EAN, *IMAGES, "US", "CA", "1.00 USD", "2.00 CAD"),
        *("https://shop.example.com/1", "<p>Whole &amp; good</p>"),
    ],
    ["Bar ü", UPC, *[""] * 8],
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["feed.xml", "feed.xml.gz"])
def test_rss_feed_is_a_table_with_googles_names(tmp_path: Path, name: str, encoding: str) -> None:
    opened = table(write(tmp_path, RSS, name, encoding=encoding))
    assert list(opened.titles) == TITLES
    assert list(opened.rows()) == [(1, ROWS[0]), (2, ROWS[1])]
    assert (opened.header_line, opened.delimiter, opened.encoding) == (None, None, "utf-8-sig")


def test_atom_feed_is_a_table_with_googles_names(tmp_path: Path) -> None:
    entry = (
        "<title>Oats</title><id>tag:1</id><summary>Whole</summary>"
        '<link rel="self" href="https://feed.example.com"/><link href="https://shop.example.com"/>'
        f"<g:id>A1</g:id><g:gtin>{EAN}</g:gtin>"
    )
    feed = f'<feed xmlns="http://www.w3.org/2005/Atom" {G}><entry>{entry}</entry></feed>'
    opened = table(write(tmp_path, feed))
    assert list(opened.titles) == ["id", "gtin", "title", "description", "link"]
    assert cells(opened) == [["A1", EAN, "Oats", "Whole", "https://shop.example.com"]]


def test_trade_items_of_all_levels_are_rows(tmp_path: Path) -> None:
    def item(gtin: str, inner: str = "", below: str = "") -> str:
        child = f"<catalogueItemChildItemLink>{below}</catalogueItemChildItemLink>" if below else ""
        own = f"<tradeItem><gtin>{gtin}</gtin>{inner}</tradeItem>"
        return f"<catalogueItem>{own}{child}</catalogueItem>"

    inner = (
        "<tradeItemInformation><extension>"
        '<d:tradeItemDescriptionModule xmlns:d="urn:gs1:gdsn:trade_item_description:xsd:3">'
        '<brandName>Acme</brandName><text languageCode="en">Oats</text>'
        "</d:tradeItemDescriptionModule></extension></tradeItemInformation>"
    )
    message = (
        '<c:message xmlns:c="urn:gs1:gdsn:catalogue_item_notification:xsd:3"><transaction>'
        f"{item('14006381333938', below=item('04006381333931', inner, item('00036000291452')))}"
        f"{item('00000096385074')}</transaction></c:message>"
    )
    opened = table(write(tmp_path, message))
    path = "tradeItemInformation:extension:tradeItemDescriptionModule:"
    text = [f"{path}brandName", f"{path}text@languageCode", f"{path}text"]
    assert list(opened.titles) == ["gtin", *text]
    assert cells(opened) == [
        ["14006381333938", "", "", ""],
        ["04006381333931", "Acme", "en", "Oats"],
        ["00036000291452", "", "", ""],
        ["00000096385074", "", "", ""],
    ]


@pytest.mark.django_db
def test_rejected_items_can_be_corrected(organization: Organization, tmp_path: Path) -> None:
    item = "<item><g:gtin>{}</g:gtin><g:name>{}</g:name><g:x>1</g:x><g:x>{}</g:x></item>"
    items = item.format(EAN, "a", 2) + item.format("123", "ü, b", 3)
    path = write(tmp_path, f"<rss {G}><channel>{items}</channel></rss>", "feed.xml")
    assert numbers(run(path, organization, skip_bad_rows=True)) == (2, 1, 0, 0, 1)
    text = (tmp_path / "feed.rejects.csv").read_bytes().decode()
    assert text.startswith(
        '\ufeffgtin,name,x,x,_line,_reason\r\n123,"ü, b",1,3,2,"gtin: A GTIN has'
    )
    corrected = write(tmp_path, text.replace("123", UPC, 1), "corrected.csv")
    assert numbers(run(corrected, organization)) == (1, 1, 0, 0, 0)
    assert [each["name"] for each in stored(organization)] == ["ü, b", "a"]


ITEM = f"<item><g:gtin>{EAN}</g:gtin></item>"


def feed(inner: str, start: str = "") -> str:
    return f"{start}<rss {G}>\n<channel>\n{inner}\n</channel></rss>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            feed(f"{ITEM}\n<item><g:gtin>1</item>"),
            "line 4: The XML is not well-formed: Opening and",
        ),
        (feed(f"{ITEM}\n<item>&nbsp;</item>"), "line 4: The XML is not well-formed: Entity 'nbsp'"),
        (feed(ITEM)[:-20], "line 3: The XML is not well-formed: "),
        (feed("<product/>"), "The XML has no items of a known kind: item (RSS), entry (Atom) or"),
        ("<!DOCTYPE html><html><body/></html>", "The file is a web page (HTML), not a table."),
        (feed(f"{ITEM}{'<a>' * 3000}"), "line 3: The XML is not well-formed: Excessive depth"),
        (
            feed(ITEM, '<!DOCTYPE rss [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'),
            "The XML defines entities, which are not read: write the text itself.",
        ),
        (
            feed(ITEM, '<!DOCTYPE rss [<!ENTITY a SYSTEM "secret.txt">]>'),
            "The XML defines entities, which are not read: write the text itself.",
        ),
    ],
)
def test_xml_that_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        list(table(write(tmp_path, text)).rows())
    assert str(refused.value).startswith(message)


def test_external_definitions_are_never_read(tmp_path: Path) -> None:
    (tmp_path / "secret.dtd").write_text('<!ENTITY x "secret">')
    start = f'<!DOCTYPE rss SYSTEM "{tmp_path}/secret.dtd">'
    opened = table(write(tmp_path, feed("<item><g:gtin>&x;</g:gtin></item>", start)))
    assert "secret" not in str(cells(opened))


@pytest.mark.parametrize("block", [b"<a/>", b"x" * 1000, b"<g:gtin>1</g:gtin>"])
def test_endless_item_is_refused(tmp_path: Path, block: bytes) -> None:
    path = tmp_path / "feed.xml.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(f"<rss {G}><channel><item>".encode())
        for _ in range(40):
            file.write(block * (1_000_000 // len(block)))
    with pytest.raises(UnreadableFile, match=r"an object, .* of more than 4,194,304 bytes"):
        table(path)


def test_endless_item_with_items_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "feed.xml.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(f"<rss {G}><channel><item>".encode())
        for _ in range(40):
            file.write(b"<item><g:gtin>1</g:gtin></item><pad>" + b"x" * 1_000_000 + b"</pad>")
    with pytest.raises(UnreadableFile, match=r"an object, .* of more than 4,194,304 bytes"):
        table(path)


def test_deep_elements_with_long_names_take_no_memory_for_their_paths(tmp_path: Path) -> None:
    name = "n" * 40_000
    deep = f"<{name}>" * 4 + "<y>1</y>" * 5_000 + f"</{name}>" * 4
    path = write(tmp_path, feed(f"<item><g:gtin>1</g:gtin>{deep}</item>"))
    tracemalloc.start()
    opened = table(path)
    assert cells(opened) == [["1"]]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25 * 1024 * 1024


# XML has no control characters, and blanks at both ends are left out.
NASTY = st.text(st.sampled_from(list("ab ü茶,;\t|\"'=\n<&>]")), max_size=8).map(str.strip)


@given(st.lists(st.tuples(NASTY, NASTY, NASTY), max_size=6), st.booleans())
@settings(max_examples=50, deadline=None)
def test_every_text_is_read_back(rows: list[tuple[str, str, str]], is_atom: bool) -> None:
    tag = "entry" if is_atom else "item"
    items = "".join(
        f"<{tag}><g:gtin>{escape(gtin)}</g:gtin><g:name>{escape(name)}</g:name>"
        f"<g:part><g:inner>{escape(inner)}</g:inner></g:part></{tag}>"
        for gtin, name, inner in [("1", "x", "y"), *rows]
    )
    text = f'<feed xmlns="http://www.w3.org/2005/Atom" {G} a={quoteattr("<")}>{items}</feed>'
    with tempfile.TemporaryDirectory() as folder:
        opened = table(write(Path(folder), text))
        assert list(opened.titles) == ["gtin", "name", "part:inner"]
        assert cells(opened) == [["1", "x", "y"], *map(list, rows)]
