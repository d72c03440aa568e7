"""What the checks of one record share: its line, its problems and its repairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from django.db import models

from closient.text.normal import WHITE_SPACE, nfc
from closient.text.urls import is_web_address
from closient.text.validators import DESCRIPTION_LENGTH, InvalidText, check_text
from dashboard.imports.records import Problem
from dashboard.imports.repair.addresses import is_plain, read_address, split_addresses
from dashboard.imports.repair.conventions import Conventions
from dashboard.imports.repair.letters import read_letters

MAX_SHOWN = 40
_NOT_VALID = "not valid"
_NOT_AN_ADDRESS = Problem("", "not a web address", "must be a complete http or https URL")


def is_plain_text(cell: str, length: int) -> bool:
    """Whether a text is stored as the cell has it, as nearly all are (:meth:`RecordCheck.text`).

    It is printable ASCII, so there is nothing to repair or normalize and no control character; it
    has no blank at its ends, and the length fits. An empty cell is not plain.
    """
    return (
        0 < len(cell) <= length
        and cell.isascii()
        and cell.isprintable()
        and cell[0] != " " != cell[-1]
    )


@dataclasses.dataclass(slots=True)
class RecordCheck:
    """The check of one record: collects why it is rejected, and what was repaired.

    With ``overwrite_blank`` an empty cell clears the field; without, it changes nothing.
    """

    line: int
    overwrite_blank: bool
    conventions: Conventions
    problems: list[Problem] = dataclasses.field(default_factory=list)
    repairs: list[str] = dataclasses.field(default_factory=list)

    def reject(self, field: str, rule: str, text: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(field, rule, text))

    def changed(self, value: str | None) -> str | None:
        """A text to store; None leaves the field as it is."""
        return value if value or self.overwrite_blank else None

    def cleared(self, given: Mapping[str, str], fields: Sequence[str]) -> list[str]:
        """The fields with an empty cell that it clears; a file without the column clears none."""
        if not self.overwrite_blank:
            return []
        return [field for field in fields if not given.get(field, "-").strip(WHITE_SPACE)]

    def text(
        self,
        field: str,
        cell: str,
        length: int,
        *,
        several_lines: bool = False,
        read: Callable[[str], str] | None = None,
    ) -> str:
        """The text of a cell as it is stored: repaired, in NFC, stripped and validated.

        ``read`` returns the value of a text that is more than a text, or raises ``InvalidText``.
        """
        # Blanks at the ends may be halves of letters.
        text = cell if cell.isascii() else nfc(read_letters(cell, self.repairs))
        text = text.strip(WHITE_SPACE)
        if not text:
            return ""
        try:
            check_text(text, length, several_lines=several_lines)
            return read(text) if read else text
        except InvalidText as error:
            self.reject(field, getattr(error, "rule", _NOT_VALID), str(error))
            return ""

    def addresses(self, field: str, cell: str, length: int) -> list[str]:
        """The web addresses of a cell as they can be requested."""
        if len(cell) <= length and is_plain(cell):
            return [cell]
        found = []
        for each in split_addresses(cell):
            address = read_address(nfc(each), self.repairs)
            try:
                check_text(address, length)
            except InvalidText as error:
                self.reject(field, _NOT_VALID, str(error))
                continue
            if is_web_address(address):
                found.append(address)
            elif address:
                self.problems.append(_NOT_AN_ADDRESS._replace(field=field))
        return found

    def address(self, field: str, cell: str, length: int) -> str:
        """The only web address of a cell; empty if it has none."""
        found = self.addresses(field, cell, length)
        if len(found) > 1:
            self.reject(field, "several addresses", f"has {len(found)} addresses; only one fits")
        return found[0] if found else ""


class NotAValue(InvalidText):
    """A text is not a value of its field; ``rule`` is the broken rule in a few words."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


def choice(choices: Sequence[str], words: dict[str, str] | None = None) -> Callable[[str], str]:
    """A reader of one of several values in any case; ``words`` are other words for them."""

    def read(text: str) -> str:
        value = text.lower()
        value = (words or {}).get(value, value)
        if value not in choices:
            raise NotAValue("not one of the values", f"is none of {', '.join(choices)}")
        return value

    return read


def length_of(model: type[models.Model], field: str) -> int:
    """The length that a field of a model may have, in characters."""
    length: int | None = getattr(model._meta.get_field(field), "max_length", None)
    return length or DESCRIPTION_LENGTH
