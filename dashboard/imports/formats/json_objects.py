"""JSON: an array of objects, one object a line, or products of schema.org (JSON-LD).

The title of a nested value is its path (``nutriments.fat_100g``). A layout that needs the objects
themselves, because they are products as in the API, reads them from :class:`JsonObjects`. Our own
JSON Lines are another format (:mod:`dashboard.imports.formats.json_lines`).
"""

from __future__ import annotations

import contextlib
import decimal
import io
import itertools
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, TextIO, cast

import ijson

from dashboard.imports.files import InputFile, UnreadableFile
from dashboard.imports.formats.base import FileFormat
from dashboard.imports.formats.json_lines import (
    InvalidJson,
    exact_json,
    first_keys,
    parse_line,
    write_rejected_lines,
)
from dashboard.imports.formats.objects import (
    MeteredStream,
    ObjectTable,
    Values,
    nested_title,
)
from dashboard.imports.rejects import LINE_KEY, REASON_KEY, BadRow, Rejected
from dashboard.imports.text_file import TextFile, encoding_of_start, starting_text

# Of JSON for one object: as long as a line may be.
MAX_OBJECT_BYTES = 1_000_000
_BLOCK_BYTES = 64 * 1024
_MAX_DEPTH = 32
# An object between the two depths is a rejected row.
_MAX_BUILT_DEPTH = 1000
# The lists of objects in an object around all of them: JSON-LD, and the answers of APIs.
_LISTS = ("@graph", "itemListElement", "products", "items", "results", "data")
# The types of schema.org that are rows; objects without a type are, too.
_PRODUCTS = frozenset({"Product", "ProductGroup", "ProductModel", "IndividualProduct"})
_VARIANTS = "hasVariant"
# Values of groups that are repeated for their variants.
_MAX_REPEATED = 1_000_000
# Lines below a damaged first one that show whether each line is an object.
_LINES_READ = 20


# Python converts no longer numbers, and the parser's C code ends the process then.
_MAX_DIGITS = 1000
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % _MAX_DIGITS)


class _JsonStream(MeteredStream):
    """A stream of JSON without numbers that the parser cannot convert."""

    _tail = b""

    def read(self, size: int = -1) -> bytes:
        block = super().read(size)
        if _LONG_NUMBER.search(self._tail + block):
            raise UnreadableFile(f"The JSON has a number of {_MAX_DIGITS:,} digits or more.")
        self._tail = (self._tail + block)[1 - _MAX_DIGITS :]
        return block


Product = Mapping[str, Any]
Products = Callable[[], Iterator[Product | BadRow]]


class JsonTable(ObjectTable):
    """The objects of a file as a table; ``objects`` has them as they are."""

    def __init__(self, source: InputFile, products: Products) -> None:
        super().__init__(source, lambda: map(_flat, products()))
        self.objects = JsonObjects(source, products)


class JsonObjects:
    """The objects of a file without a table: rows are objects, as those of JSON Lines.

    Numbers are their digits. The line of a row is the number of its object.
    """

    suffix = ".jsonl"
    has_escaped_cells = False
    encoding = "utf-8"
    errors = "surrogatepass"
    titles: Sequence[str] = ()
    names: Sequence[str] = ()
    header_line: int | None = None
    delimiter = None
    notices: Sequence[str] = ()

    def __init__(self, source: InputFile, products: Products) -> None:
        self.source = source
        self._products = products

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
        """Yield each object with its number; empty objects are skipped."""
        for number, product in enumerate(self._products(), start=1):
            if isinstance(product, BadRow):
                yield number, product
            elif product:
                yield number, _in_texts(product)

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected objects as JSON Lines, with two more keys for number and reason."""
        rows = self.rows()
        for wanted in rejected:
            row = next(row for number, row in rows if number == wanted.line)
            item = {} if isinstance(row, BadRow) else row
            added = {LINE_KEY: wanted.line, REASON_KEY: wanted.reason}
            file.write(json.dumps({**item, **added}, ensure_ascii=False) + "\n")


def _objects(source: InputFile) -> Iterator[Mapping[str, Any] | BadRow]:
    """Yield each object; raises :class:`UnreadableFile`."""
    for value in _values(source):
        yield from map(_checked, _products(value))


def _checked(product: Product | BadRow | None) -> Product | BadRow:
    """A product that can be read, or the reason why it cannot."""
    if isinstance(product, BadRow):
        return product
    if product is None:
        return BadRow("the value is not a JSON object")
    return BadRow("the object is nested too deeply") if _is_deep(product) else product


def _values(source: InputFile) -> Generator[Any, None, None]:
    """Yield the objects of a file with an array, or its only object."""
    if starting_text(source).startswith("["):
        yield from _streamed(source, depth=1)
    else:
        keys = first_keys(source)
        around = next((key for key in _LISTS if key in keys), None)
        yield from _streamed(source, depth=2 if around else 0, key=around)


def _has_lines(source: InputFile) -> bool:
    """Whether each line is an object: the first one is, or two of the next that follow each other.

    A value of one JSON text cannot follow another without a comma. So a file is read to its end
    even if its first line is damaged.
    """
    with contextlib.closing(TextFile(source).lines()) as lines:
        filled = (line for line in lines if line.strip())
        try:
            if _is_json(next(filled)):
                return True
            others = [_is_json(line) for line in itertools.islice(filled, _LINES_READ)]
        except UnreadableFile:
            return False
    return others == [True] or any(map(all, itertools.pairwise(others)))


def _is_json(text: str) -> bool:
    try:
        exact_json(text, "")
    except InvalidJson:
        return False
    return True


class _LineObjects(JsonObjects):
    """The objects of a :class:`_LinesTable`."""

    def __init__(self, table: _LinesTable, products: Products) -> None:
        super().__init__(table.source, products)
        self._table = table
        self.encoding, self.errors, self.notices = table.encoding, table.errors, table.notices

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected lines as the table does."""
        self._table.write_rejects(file, rejected)


class _LinesTable(JsonTable):
    """Objects on one line each: rejected ones come back as lines."""

    suffix = ".jsonl"

    def __init__(self, source: InputFile) -> None:
        self._text = TextFile(source)

        def products() -> Iterator[Mapping[str, Any] | BadRow]:
            return (product for _, product in self._texts())

        super().__init__(source, products)
        self.encoding = self._text.encoding
        self.errors = self._text.errors
        self.notices = (*self._text.notices, *self.notices)
        self.objects = _LineObjects(self, products)

    def write_rejects(self, file: TextIO, rejected: Iterator[Rejected]) -> None:
        """Write the rejected lines unchanged, with two more keys for line and reason.

        A line that was not an object is wrapped into one, as ``_text``; of a line with several
        products those come back that are rejected.
        """
        texts = ((number, text) for number, (text, _) in enumerate(self._texts(), start=1))
        write_rejected_lines(file, texts, rejected, line_end=self._text.line_end)

    def _texts(self) -> Iterator[tuple[str | Product, Product | BadRow]]:
        """Yield each product with its line, or with itself if the line has several."""
        with contextlib.closing(self._text.lines()) as lines:
            for line in lines:
                if not (text := line.strip("\ufeff \t\r\n")):
                    continue
                value = parse_line(text)
                if isinstance(value, BadRow):
                    yield text, value
                    continue
                products = _products(value)
                first = list(itertools.islice(products, 2))
                for product in itertools.chain(first, products):
                    if isinstance(product, Mapping) and len(first) > 1:
                        yield product, _checked(product)
                    else:
                        yield text, _checked(product)


def _streamed(source: InputFile, *, depth: int, key: str | None = None) -> Iterator[Any]:
    """Yield the values at a depth of the only JSON value of a file, below a key if one is given."""
    number = 0
    with source.opened() as stream, contextlib.ExitStack() as stack:
        metered = _JsonStream(stack.enter_context(_in_utf_8(source, stream)), MAX_OBJECT_BYTES)
        try:
            events = ijson.basic_parse(metered, buf_size=_BLOCK_BYTES)
            for value in _built(events, depth, key):
                yield value
                number += 1
                metered.next_object()
        except ijson.JSONError as error:
            reason = str(error).partition("\n")[0].strip()
            raise UnreadableFile(
                f"The JSON is not valid after object {number:,}: {reason}."
            ) from error
        except decimal.InvalidOperation as error:
            raise UnreadableFile(
                f"The JSON has a number after object {number:,} whose exponent is out of range."
            ) from error


def _built(  # noqa: PLR0912
    events: Iterator[tuple[str, Any]], wanted: int, key: str | None
) -> Iterator[Any]:
    """Build the values at a depth from the events of the parser.

    The parser can do that too, but at a cost of time and memory that grows with the square of the
    depth, which a file may choose.
    """
    depth = 0
    current: str | None = None
    # The containers that are being built, and the last key of each.
    stack: list[tuple[Any, list[str]]] = []
    for event, value in events:
        is_start = event in ("start_map", "start_array")
        if event == "map_key":
            if stack:
                stack[-1][1][:] = [value]
            elif depth == 1:
                current = value
            continue
        if event in ("end_map", "end_array"):
            if not stack:
                depth -= 1
            elif len(stack) == 1:
                yield stack.pop()[0]
            else:
                stack.pop()
            continue
        made: Any = value if not is_start else {} if event == "start_map" else []
        if stack:
            container, last_key = stack[-1]
            if isinstance(container, dict):
                container[last_key[0]] = made
            else:
                container.append(made)
        elif depth != wanted or (key is not None and current != key):
            depth += is_start
            continue
        elif not is_start:
            yield made
        if is_start:
            stack.append((made, []))
            if len(stack) > _MAX_BUILT_DEPTH:
                raise UnreadableFile("The JSON has an object that is nested too deeply.")


class _Utf8(io.RawIOBase):
    """The text of a stream in UTF-8."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def read(self, size: int = -1) -> bytes:
        return self._text.read(size).encode("utf-8", "surrogatepass")


@contextlib.contextmanager
def _in_utf_8(source: InputFile, stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """The stream of a file in UTF-8 without a byte order mark, which is what the parser reads."""
    encoding = encoding_of_start(source.head)
    if encoding == "utf-8":
        yield stream
        return
    with io.TextIOWrapper(stream, encoding, "surrogatepass", newline="") as text:
        yield cast("IO[bytes]", _Utf8(text))


def _products(value: Any, depth: int = 0) -> Iterator[Product | BadRow | None]:
    """Yield the products of a value: itself, or those in its lists; None for other values."""
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        yield None
        return
    types = _types(value)
    around = next((key for key in _LISTS if isinstance(value.get(key), list)), None)
    if "ListItem" in types:
        yield from _products(value.get("item"), depth + 1)
    elif around and "BreadcrumbList" not in types and (types or not depth):
        yield from _products_of(value[around], depth)
    elif isinstance(value.get(_VARIANTS), list):
        yield from _variants(value)
    elif _is_product(value):
        yield value


def _variants(group: Product) -> Iterator[Product | BadRow | None]:
    """Yield the variants of a group, each with what it has in common with the others."""
    common = {key: inner for key, inner in group.items() if key != _VARIANTS}
    if _count(common) * len(group[_VARIANTS]) > _MAX_REPEATED:
        yield BadRow("the group has too many values for its number of variants: split it")
        return
    for one in group[_VARIANTS]:
        if not isinstance(one, dict):
            yield None
        elif _is_product(product := {**common, **one}):
            # A variant is no group.
            product.pop(_VARIANTS, None)
            yield product


def _is_product(value: Product) -> bool:
    types = _types(value)
    return not types or not types.isdisjoint(_PRODUCTS)


def _count(value: Any) -> int:
    """How many values a value has in it, with itself."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, inner))


def _products_of(values: Iterable[Any], depth: int) -> Iterator[Product | BadRow | None]:
    for value in values:
        yield from _products(value, depth + 1)


def _types(value: Mapping[str, Any]) -> set[str]:
    """The types of schema.org that an object has, without its address."""
    types = value.get("@type")
    return {
        str(each).rpartition("/")[2].rpartition(":")[2]
        for each in (types if isinstance(types, list) else [types])
        if each
    }


def _is_deep(value: Any, depth: int = 0) -> bool:
    """Whether a value is nested more deeply than is read."""
    if depth > _MAX_DEPTH:
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_deep(each, depth + 1) for each in inner)


def _in_texts(value: Any) -> Any:
    """A value with the digits of its numbers."""
    if isinstance(value, dict):
        return {key: _in_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_texts(inner) for inner in value]
    return value if value is None or isinstance(value, bool) else str(value)


def _flat(product: Mapping[str, Any] | BadRow) -> Values | BadRow:
    """The values of an object with their paths."""
    if isinstance(product, BadRow):
        return product
    values: Values = []
    _take(product, "", values)
    return values


def _take(value: Any, path: str, values: Values) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _take(inner, nested_title(path, ".", key) if path else key, values)
    elif isinstance(value, list):
        for inner in value:
            _take(inner, path, values)
    elif isinstance(value, bool):
        values.append((path, "true" if value else "false"))
    elif value is not None:
        values.append((path, str(value)))


def _open(source: InputFile) -> ObjectTable:
    has_lines = starting_text(source).startswith("{") and _has_lines(source)
    table = _LinesTable(source) if has_lines else JsonTable(source, lambda: _objects(source))
    if not table.titles:
        raise UnreadableFile("The JSON has no objects with values.")
    return table


FORMAT = FileFormat(
    "json",
    detect=lambda source: starting_text(source).startswith(("[", "{")),
    open=lambda source, is_header: _open(source),
)
