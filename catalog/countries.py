"""Countries by code or English name (ISO 3166-1)."""

from __future__ import annotations

import functools
import unicodedata

import pycountry

# Common names that are not among the standard's names.
EVERYDAY_NAMES = {
    "britain": "GB",
    "great britain": "GB",
    "uk": "GB",
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
    "u.s.a.": "US",
    "vatican": "VA",
    "vatican city": "VA",
}


@functools.lru_cache(maxsize=4096)
def country_code(text: str) -> str | None:
    """Return the alpha-2 code of a country given as alpha-2, alpha-3 or English name.

    Ignores case, accents, surrounding blanks and a leading "the". None if the text is not a
    country.
    """
    return _countries().get(_key(text))


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

    A part may be an English tag, such as ``en:united-kingdom``.
    """
    codes = set()
    for part in text.split(","):
        name = part.strip()
        if name.startswith("en:"):
            name = name.removeprefix("en:").replace("-", " ")
        codes.add(country_code(name))
    return codes.pop() if len(codes) == 1 else None


def _key(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("\u2019", "'").strip())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return plain.casefold().removeprefix("the ")


@functools.cache
def _countries() -> dict[str, str]:
    codes = dict(EVERYDAY_NAMES)
    for country in pycountry.countries:
        for attribute in ("alpha_2", "alpha_3", "name", "official_name", "common_name"):
            name = getattr(country, attribute, None)
            if name:
                codes[_key(name)] = country.alpha_2
    return codes
