"""What a page that opens says about itself: that there is nothing here, or that nobody is at home.

A hint is shown beside the verdict and never changes it: a shop's page about a product may contain
any of these words. So only the title and the first heading count, and only whole phrases.
"""

from __future__ import annotations

import html
import re

# In lower case, as the title or the first heading of a page has them. English, German, French,
# Spanish, Italian, Dutch, Polish and Portuguese shops answer 200 with them (a "soft 404").
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
)

_HEADING = re.compile(r"<(title|h1)\b[^>]{0,300}>(.{0,500}?)</\1", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]{0,300}>")


def hint_of(body: bytes) -> str | None:
    """Return a sentence about the beginning of a page, or ``None``; never the page's own words."""
    source = body.decode("utf-8", "replace")
    for found in _HEADING.finditer(source):
        text = html.unescape(_TAG.sub(" ", found[2])).replace("\u2019", "'")
        words = " ".join(text.lower().split())
        for phrase in NOT_FOUND:
            if phrase in words:
                return f"The page opens, but says \u201c{phrase}\u201d."
        for phrase in PARKED:
            if phrase in words:
                return f"The page opens, but looks like a parked domain (\u201c{phrase}\u201d)."
        if found[1].lower() == "h1":
            break
    return None
