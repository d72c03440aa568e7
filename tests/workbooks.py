"""Small workbooks in the formats that no library here writes: XLS, XLSB, and encrypted ones.

A cell is a text or a number. Only what a reader needs is written.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

Cell = str | float
Rows = Sequence[Sequence[Cell]]

_SECTOR = 512
# Shorter streams would be in another part of a compound file.
_MIN_STREAM = 4096
_FREE, _END, _FAT, _NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def write_compound(path: Path, **streams: bytes) -> Path:
    """Write an OLE compound file, version 3 ([MS-CFB]), with these streams."""
    fat = [_FAT, _END]
    entries = [_entry("Root Entry", kind=5, child=1, right=_NONE, start=_END, size=0)]
    body = b""
    for number, (name, content) in enumerate(streams.items(), start=1):
        padded = content.ljust(_MIN_STREAM, b"\0")
        padded += bytes(-len(padded) % _SECTOR)
        start, count = len(fat), len(padded) // _SECTOR
        fat += [*range(start + 1, start + count), _END]
        right = number + 1 if number < len(streams) else _NONE
        size = max(len(content), _MIN_STREAM)
        entries.append(_entry(name, kind=2, child=_NONE, right=right, start=start, size=size))
        body += padded
    fat += [_FREE] * (_SECTOR // 4 - len(fat))
    header = struct.pack(
        "<8s16xHHHHH6x9I109I",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6),
        *(0, 1, 1, 0, _MIN_STREAM, _END, 0, _END, 0, 0),
        *[_FREE] * 108,
    )
    directory = b"".join(entries).ljust(_SECTOR, b"\0")
    path.write_bytes(header + struct.pack(f"<{len(fat)}I", *fat) + directory + body)
    return path


def _entry(name: str, *, kind: int, child: int, right: int, start: int, size: int) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    tree = struct.pack("<BBIII", kind, 1, _NONE, right, child)
    return (
        text.ljust(64, b"\0")
        + struct.pack("<H", len(text))
        + tree
        + struct.pack("<16xI8x8xIQ", 0, start, size)
    )


def write_xls(path: Path, rows: Rows, *, is_encrypted: bool = False) -> Path:
    """Write an XLS file of Excel 97 ([MS-XLS]) with one sheet."""
    cells = b"".join(
        _biff_cell(row, column, cell)
        for row, values in enumerate(rows)
        for column, cell in enumerate(values)
    )
    sheet = _biff(0x0809, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 0, 0, 0)) + cells
    start = _biff(0x0809, struct.pack("<HHHHII", 0x0600, 0x0005, 0, 0, 0, 0))
    if is_encrypted:
        # RC4 with an 8 bytes longer header; a reader without the password does not get further.
        start += _biff(0x002F, struct.pack("<HHH", 1, 1, 1) + bytes(48))
    name = _biff(0x0085, struct.pack("<IBBBB", 0, 0, 0, 1, 0) + b"S")
    end = _biff(0x000A, b"")
    offset = len(start) + len(name) + len(end)
    name = _biff(0x0085, struct.pack("<IBBBB", offset, 0, 0, 1, 0) + b"S")
    return write_compound(path, Workbook=start + name + end + sheet + end)


def _biff_cell(row: int, column: int, cell: Cell) -> bytes:
    place = struct.pack("<HHH", row, column, 0)
    if isinstance(cell, str):
        text = struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le")
        return _biff(0x0204, place + text)
    return _biff(0x0203, place + struct.pack("<d", cell))


def _biff(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def write_encrypted_xlsx(path: Path) -> Path:
    """Write what Excel saves with a password: the workbook as an encrypted stream ([MS-OFFCRYPTO]).

    The stream is not decrypted without the password, so any bytes do.
    """
    info = struct.pack("<HHI", 4, 4, 0x40) + b'<?xml version="1.0"?><encryption/>'
    package = struct.pack("<Q", 5000) + bytes(range(256)) * 20
    return write_compound(path, EncryptionInfo=info, EncryptedPackage=package)


def write_xlsb(path: Path, rows: Rows) -> Path:
    """Write an XLSB file ([MS-XLSB]) with one sheet."""
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    related = "http://schemas.openxmlformats.org/package/2006/relationships"
    relation = (
        f'<Relationships xmlns="{related}"><Relationship Id="r1" Type="{kind}/%s" Target="%s"/>'
        "</Relationships>"
    )
    book = [
        _record(0x83),
        _record(0x99, struct.pack("<III", 0, 0, 0)),
        _record(0x8F),
        _record(0x9C, struct.pack("<II", 0, 1) + _wide("r1") + _wide("S")),
        *(_record(0x90), _record(0x84)),
    ]
    width = max(map(len, rows))
    sheet = [
        _record(0x81),
        _record(0x94, struct.pack("<IIII", 0, len(rows) - 1, 0, width - 1)),
        _record(0x91),
    ]
    for number, row in enumerate(rows):
        sheet.append(_record(0x00, struct.pack("<IIHBBBI", number, 0, 300, 0, 0, 0, 0)))
        for column, cell in enumerate(row):
            place = struct.pack("<II", column, 0)
            if isinstance(cell, str):
                sheet.append(_record(0x06, place + _wide(cell)))
            else:
                sheet.append(_record(0x05, place + struct.pack("<d", cell)))
    sheet += [_record(0x92), _record(0x82)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("_rels/.rels", relation % ("officeDocument", "xl/workbook.bin"))
        archive.writestr("xl/workbook.bin", b"".join(book))
        archive.writestr(
            "xl/_rels/workbook.bin.rels", relation % ("worksheet", "worksheets/sheet1.bin")
        )
        archive.writestr("xl/worksheets/sheet1.bin", b"".join(sheet))
    return path


def _record(kind: int, content: bytes = b"") -> bytes:
    """A record: its type and length in groups of seven bits, the lowest first."""
    return _groups(kind) + _groups(len(content)) + content


def _groups(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")
