"""XML: the items of an RSS or Atom feed, the trade items of a GS1 message.

Feeds hold the product data of Google Merchant Center in the namespace ``g``; the titles are its
names without the prefix, as in a delimited file. Trade items are those of a catalogue item
notification (GDSN), also the ones below another; each is one row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from dashboard.imports.files import InputFile, UnreadableFile
from dashboard.imports.formats.base import FileFormat
from dashboard.imports.formats.objects import (
    MeteredStream,
    ObjectTable,
    Values,
    nested_title,
)
from dashboard.imports.text_file import starting_text

# Of XML for one item; its tree takes several times as much memory.
MAX_ITEM_BYTES = 4 * 1024 * 1024
# Namespaces whose names need no prefix: Google's, Atom, and those of GS1, which begin so.
_GOOGLE = "http://base.google.com/ns/1.0"
_ATOM = "http://www.w3.org/2005/Atom"
_GS1 = "urn:gs1:"
_ITEMS = frozenset({"item", "entry", "tradeItem"})
_HTML = re.compile(r"<(!doctype\s+)?html\b", re.IGNORECASE)
# What Atom calls the description of an item.
_ATOM_DESCRIPTIONS = frozenset({"summary", "content"})


def _items(source: InputFile) -> Iterator[Values]:
    """Yield the values of each item.

    Raises :class:`UnreadableFile`, with the line where the XML is not well-formed.
    """
    with source.opened() as stream:
        metered = MeteredStream(stream, MAX_ITEM_BYTES)
        events = etree.iterparse(
            metered,
            tag=[f"{{*}}{name}" for name in sorted(_ITEMS)],
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        try:
            is_checked = False
            for _, element in events:
                if not is_checked:
                    _refuse_entities(element)
                    is_checked = True
                yield _values(element)
                if _forget(element):
                    metered.next_object()
        except etree.XMLSyntaxError as error:
            # The first error; the exception may have a later one, without a line.
            first = next(iter(events.error_log), error)
            line = first.line if first is not error else error.lineno
            reason = str(first.message if first is not error else error.msg)
            raise UnreadableFile(f"The XML is not well-formed: {reason}.", line) from error


def _refuse_entities(item: Any) -> None:
    """Refuse a file that defines entities: they can unpack to any size."""
    definitions = item.getroottree().docinfo.internalDTD
    if definitions is not None and next(definitions.iterentities(), None) is not None:
        raise UnreadableFile("The XML defines entities, which are not read: write the text itself.")


def _forget(element: Any) -> bool:
    """Remove the contents of an item, and everything before it, from the tree.

    What an item around it has is left for that. Returns whether there is none: nothing is left.
    """
    element.clear()
    while (parent := element.getparent()) is not None and _name(parent)[1] not in _ITEMS:
        while element.getprevious() is not None:
            del parent[0]
        element = parent
    return parent is None


def _values(item: Any) -> Values:
    """The values of an item; those of Google win over others of the same title."""
    google: Values = []
    others: Values = []
    for child in item:
        namespace, name = _name(child)
        if not name or name in _ITEMS:
            continue
        if namespace == _ATOM and name == "link":
            if child.get("rel", "alternate") == "alternate":
                others.append((name, child.get("href", "")))
            continue
        title = _title(child)
        if namespace == _ATOM and name in _ATOM_DESCRIPTIONS:
            title = "description"
        _take(child, title, google if namespace == _GOOGLE else others)
    own = {title for title, _ in google}
    return google + [(title, text) for title, text in others if title not in own]


def _take(element: Any, path: str, values: Values) -> None:
    """Add the text of an element, its attributes, and those of the elements in it."""
    stack = [(element, path)]
    while stack:
        element, path = stack.pop()
        for name, value in element.attrib.items():
            if not name.startswith("{"):
                values.append((nested_title(path, "@", name), value))
        children = [child for child in element if _name(child)[1] not in ("", *_ITEMS)]
        text = "".join(element.itertext()) if not children else element.text or ""
        if not children or text.strip():
            values.append((path, text.strip()))
        stack += [(child, nested_title(path, ":", _title(child))) for child in reversed(children)]


def _name(element: Any) -> tuple[str, str]:
    """The namespace of an element and its name in it; both empty for an undefined entity."""
    if not isinstance(element.tag, str):
        return "", ""
    namespace, _, name = element.tag.rpartition("}")
    return namespace.removeprefix("{"), name


def _title(element: Any) -> str:
    """The name of an element, with the prefix of a namespace that needs it."""
    namespace, name = _name(element)
    is_plain = namespace in ("", _GOOGLE, _ATOM) or namespace.startswith(_GS1)
    return name if is_plain or not element.prefix else f"{element.prefix}:{name}"


def _open(source: InputFile) -> ObjectTable:
    if _HTML.match(starting_text(source)):
        raise UnreadableFile("The file is a web page (HTML), not a table.")
    table = ObjectTable(source, lambda: iter(_items(source)))
    if not table.titles:
        raise UnreadableFile(
            "The XML has no items of a known kind: item (RSS), entry (Atom) or tradeItem (GS1)."
        )
    return table


FORMAT = FileFormat(
    "xml",
    detect=lambda source: starting_text(source).startswith("<"),
    open=lambda source, is_header: _open(source),
)
