"""What a page that opens says about itself: that there is nothing here, or that nobody is at home.

A hint is shown beside the verdict and never changes it: a shop's page about a product may contain
any of these words. So only the title and the first heading count, and only whole phrases.
"""

from __future__ import annotations

import html
import re

# In lower case, as the title or the first heading of a page has them. English, German, French,
# Spanish, Italian, Dutch, Polish, Portuguese,
# Swedish and Danish shops answer 200 with them (a "soft 404").
NOT_FOUND = (
    "page not found",
    "product not found",
    "item not found",
    "404 not found",
    "error 404",
    "404 error",
    "page doesn't exist",
    "page does not exist",
    "no longer available",
    "no longer exists",
    "page cannot be found",
    "page can't be found",
    "page could not be found",
    "product does not exist",
    "account suspended",
    "welcome to nginx",
    "default page: it works",
    "seite nicht gefunden",
    "produkt nicht gefunden",
    "artikel nicht gefunden",
    "nicht mehr verfügbar",
    "page introuvable",
    "produit introuvable",
    "page non trouvée",
    "n'est plus disponible",
    "página no encontrada",
    "producto no encontrado",
    "pagina non trovata",
    "prodotto non trovato",
    "pagina niet gevonden",
    "product niet gevonden",
    "nie znaleziono strony",
    "página não encontrada",
    "produto não encontrado",
    "ya no está disponible",
    "non è più disponibile",
    "niet meer beschikbaar",
    "strona nie została znaleziona",
    "sidan hittades inte",
    "siden blev ikke fundet",
)
# Of services that hold domains for sale.
PARKED = (
    "domain is for sale",
    "domain may be for sale",
    "domain name is for sale",
    "buy this domain",
    "domain is parked",
    "parked domain",
    "domain has expired",
    "domain expired",
    "domain for sale",
    "domain steht zum verkauf",
)
# Where the scripts and frames of such services come from, in the source in lower case.
PARKED_MARKS = (
    b"sedoparking.com",
    b"parkingcrew.net",
    b"bodis.com",
    b"hugedomains.com/domain_profile",
    b"afternic.com/forsale",
    b"wsimg.com/parking-lander",
)

_HEADING = re.compile(r"<(title|h1)\b[^>]{0,300}>(.{0,500}?)</\1", re.IGNORECASE | re.DOTALL)
_NAME_FOR_SALE = re.compile(r"\b[a-z0-9-]+\.[a-z]{2,24} is for sale")
_TAG = re.compile(r"<[^>]{0,300}>")


def hint_of(body: bytes) -> str | None:
    """Return a sentence about the beginning of a page, or ``None``; never the page's own words."""
    if any(mark in body.lower() for mark in PARKED_MARKS):
        return "The page opens, but looks like a parked domain."
    for found in _HEADING.finditer(_decoded(body)):
        text = html.unescape(_TAG.sub(" ", found[2])).replace("\u2019", "'")
        words = " ".join(text.lower().split())
        for phrase in NOT_FOUND:
            if phrase in words:
                return f"The page opens, but says \u201c{phrase}\u201d."
        for phrase in PARKED:
            if phrase in words:
                return f"The page opens, but looks like a parked domain (\u201c{phrase}\u201d)."
        if _NAME_FOR_SALE.search(words):
            return "The page opens, but looks like a parked domain (\u201cis for sale\u201d)."
        if found[1].lower() == "h1":
            break
    return None


def _decoded(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    # Old pages are in another encoding, and a page that is cut off may end within a letter.
    is_other = "\ufffd" in text[:-1]
    return body.decode("windows-1252", "replace") if is_other else text
