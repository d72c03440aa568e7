"""Tells code pages of one byte a character apart, by the letters of the languages that use them.

Spreadsheets save CSV in the code page of the system: Windows-1252 in western Europe, 1250 in Poland
and its neighbors, 1254 in Turkey, Mac OS Roman on Macs. Each byte is a character in nearly all of
them, so only the letters that come out show which one it was. Code pages of other scripts than
Latin cannot be distinguished this way: their texts are not read. Alphabets: Unicode CLDR, main
exemplar characters without ASCII.
"""

from __future__ import annotations

import re
from collections import Counter

_WESTERN = (
    "äöüß",  # German
    "àâæçèéêëîïôœùûüÿ",  # French
    "áéíñóúü¿¡ªº",  # Spanish
    "ãáàâçéêíóôõúªº",  # Portuguese
    "àèéìíîòóùú",  # Italian
    "áäéëíïóöúü",  # Dutch
    "åäöéæøå",  # Swedish, Danish, Norwegian, Finnish
    "áðéíóúýþæö",  # Icelandic
    "àçèéíïòóúü·",  # Catalan
)
# In the order of preference among those that fit equally: the code page, its name, its alphabets.
_CODE_PAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("cp1252", "Windows-1252", _WESTERN),
    (
        "cp1250",
        "Windows-1250",
        (
            "ąćęłńóśźż",  # Polish
            "áčďéěíňóřšťúůýž",  # Czech
            "áäčďéíĺľňóôŕšťúýž",  # Slovak
            "áéíóöőúüű",  # Hungarian
            "ăâîşţ",  # Romanian
            "čćđšž",  # Croatian, Slovenian
        ),
    ),
    ("cp1254", "Windows-1254", ("çğıiöşüâîû",)),  # Turkish
    ("mac_roman", "Mac OS Roman", _WESTERN),
)
# Their names for people.
CODE_PAGES = {encoding: name for encoding, name, _ in _CODE_PAGES}
# Signs that texts of all languages have: they say nothing about the code page. Inside of a word, or
# for numbers before one, they are what a letter of another code page becomes.
_SIGNS = frozenset("\u00a0§©®´«»–—‘“”„•…€™±×£")
_NUMBERS = frozenset("°·¹²³½¼¾")
_DEGREES = re.compile(r"°[CF]\b")
# An apostrophe is a part of a word.
_APOSTROPHE = "’"
# Below this share of letters that belong to one language, a text is none of them.
_MIN_SHARE = 0.8


def code_pages_of(text: bytes) -> list[str]:
    """The code pages that fit a text, most of whose bytes are ASCII, the best first.

    Windows-1252 is preferred if several fit equally, as they do for a few letters such as ``é``.
    """
    found = [
        (-share, place, encoding)
        for place, (encoding, _, alphabets) in enumerate(_CODE_PAGES)
        if (share := _share(text, encoding, alphabets)) >= _MIN_SHARE
    ]
    return [encoding for _, _, encoding in sorted(found)]


def _share(text: bytes, encoding: str, alphabets: tuple[str, ...]) -> float:
    """The share of letters outside of ASCII that the language has that has most of them."""
    decoded = _DEGREES.sub("", text.decode(encoding, "replace"))
    counts: Counter[str] = Counter()
    for before, character, after in zip(f" {decoded}", decoded, f"{decoded[1:]} ", strict=False):
        if character.isascii() or character == _APOSTROPHE:
            continue
        if character in _SIGNS and not (before.isalpha() and after.isalpha()):
            continue
        if character in _NUMBERS and not after.isalpha():
            continue
        # A capital inside of a word is none: KŠse.
        is_inside = character.isupper() and before.isalpha() and after.islower()
        counts["" if is_inside else character.lower()[0]] += 1
    total = counts.total()
    if not total:
        return 1.0
    return max(sum(counts[letter] for letter in set(letters)) for letters in alphabets) / total
