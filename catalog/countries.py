"""Countries by code or name (ISO 3166-1)."""

from __future__ import annotations

import functools
import gettext
import re
import unicodedata

import pycountry

# Common names that are not among the standard's names.
EVERYDAY_NAMES = {
    "britain": "GB",
    "great britain": "GB",
    "uk": "GB",
    "el": "GR",
    "england": "GB",
    "northern ireland": "GB",
    "scotland": "GB",
    "wales": "GB",
    "brunei": "BN",
    "burma": "MM",
    "cape verde": "CV",
    "democratic republic of the congo": "CD",
    "east timor": "TL",
    "holland": "NL",
    "ivory coast": "CI",
    "macau": "MO",
    "macedonia": "MK",
    "micronesia": "FM",
    "palestine": "PS",
    "russia": "RU",
    "swaziland": "SZ",
    "turkey": "TR",
    "vatican": "VA",
    "vatican city": "VA",
}


# The languages in which names are recognized besides English: official ones of countries, in which
# the library has the names of all countries.
LANGUAGES = (
    "ar az be bg bn bs ca cs cy da de el es et eu fa fi fr ga gl he hi hr hu hy id is it ja ka kk "
    "km ko lt lv mk mn ms mt nb nl nn pl pt pt_BR ro ru sk sl sq sr sr@latin sv th tr uk uz vi "
    "zh_CN zh_HK zh_TW"
)
# Native names that the library does not have.
NATIVE_NAMES = {
    "éire": "IE",
    "großbritannien": "GB",
    "lëtzebuerg": "LU",
    "shqipëria": "AL",
    "россия": "RU",
    "ایران": "IR",
    "ประเทศไทย": "TH",
    "한국": "KR",
}
_NAMES = ("name", "official_name", "common_name")
_WITH_POINTS = re.compile(r"(?:[A-Za-z]\.\s?){2,}\Z")


@functools.lru_cache(maxsize=4096)
def country_code(text: str) -> str | None:
    """Return the alpha-2 code of a country given as a code of ISO 3166-1 or a name.

    Codes are alpha-2, alpha-3 or numeric (three digits); names are English, or in one of
    ``LANGUAGES``. Ignores case, accents, surrounding blanks, a leading "the" and the points of
    abbreviations. None if the text is not a country.
    """
    key = _key(text)
    return _countries().get(key) or _translated_countries().get(key)


def clean_country(text: str) -> str:
    """Return the alpha-2 code of a country given as in :func:`country_code`; blank stays blank.

    Raises ``ValueError`` with a sentence for the user.
    """
    code = country_code(text) if text else ""
    if code is None:
        raise ValueError(
            f"{text} is not an ISO 3166-1 country code: enter two letters, for example DE."
        )
    return code


@functools.cache
def country_names() -> tuple[tuple[str, str], ...]:
    """Return the alpha-2 code and common English name of each country, sorted by name."""
    names = [(c.alpha_2, getattr(c, "common_name", c.name)) for c in pycountry.countries]
    return tuple(sorted(names, key=lambda country: _key(country[1])))


def country_of_list(text: str) -> str | None:
    """Return the country of a comma-separated list if all parts name the same one, else None.

    A part is a code or an English name, or an English tag such as ``en:united-kingdom``. Lists are
    free text of many hands, in which a name of another language may be that of a region.
    """
    codes = set()
    for part in text.split(","):
        name = part.strip()
        if name.startswith("en:"):
            name = name.removeprefix("en:").replace("-", " ")
        codes.add(_countries().get(_key(name)))
    return codes.pop() if len(codes) == 1 else None


def _key(text: str) -> str:
    text = text.replace("\u2019", "'").strip()
    if _WITH_POINTS.match(text):
        text = text.replace(".", "").replace(" ", "")
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return plain.casefold().removeprefix("the ")


@functools.cache
def _countries() -> dict[str, str]:
    """Return the countries by the keys of their codes and English names."""
    codes = dict(EVERYDAY_NAMES)
    for country in pycountry.countries:
        for attribute in ("alpha_2", "alpha_3", "numeric", *_NAMES):
            name = getattr(country, attribute, None)
            if name:
                codes[_key(name)] = country.alpha_2
    return codes


@functools.cache
def _translated_countries() -> dict[str, str]:
    """Return the countries by the keys of their names in other languages.

    Without names that mean two countries, and without those of one or two letters, which are codes.
    """
    names: dict[str, set[str]] = {}
    for language in LANGUAGES.split():
        translations = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, [language])
        for country in pycountry.countries:
            for attribute in _NAMES:
                if name := getattr(country, attribute, None):
                    names.setdefault(_key(translations.gettext(name)), set()).add(country.alpha_2)
    found = {key: codes.pop() for key, codes in names.items() if len(codes) == 1}
    native = {_key(name): code for name, code in NATIVE_NAMES.items()}
    return {key: code for key, code in found.items() if len(key) > 2 or not key.isascii()} | native
