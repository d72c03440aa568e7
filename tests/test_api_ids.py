"""Ids: shortuuids of 22 characters, canonical UUIDs, and nothing else."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closient.db.ids import ID_PATTERN, format_id, parse_id


@given(st.uuids())
def test_id_is_parsed_from_both_forms(key: UUID) -> None:
    short = format_id(key)
    assert re.fullmatch(ID_PATTERN, short)
    assert parse_id(short) == key
    assert parse_id(str(key)) == key
    assert parse_id(str(key).upper()) == key


@pytest.mark.parametrize("number", [0, 1, 2**64, 2**128 - 1])
def test_every_id_has_22_characters(number: int) -> None:
    assert len(format_id(UUID(int=number))) == 22
    assert parse_id(format_id(UUID(int=number))) == UUID(int=number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "2" * 21,
        "2" * 23,
        "2" * 22 + "\n",
        "z" * 22,
        "0" * 22,
        "1" * 22,
        "l" * 22,
        "O" * 22,
        "\uff12" * 22,
        "{0192f0c1-2f5e-7000-8000-000000000001}",
        "urn:uuid:0192f0c1-2f5e-7000-8000-000000000001",
        "0192f0c12f5e70008000000000000001",
        "0192f0c1-2f5e-7000-8000-00000000000g",
        "0192f0c1-2f5e-7000-8000-000000000001\n",
    ],
)
def test_other_strings_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"22 characters|128-bit"):
        parse_id(text)
