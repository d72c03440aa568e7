"""The fields that a column can be mapped to by hand, and the titles that suggest them."""

from __future__ import annotations

import dataclasses
import re
import unicodedata

from dashboard.imports.records import CERTIFICATE_FIELDS, OFFER_FIELDS

PRODUCT, OFFER, CERTIFICATE = "product", "offer", "certificate"
OFFER_PREFIX = "offer_"
GTIN = "gtin"
IMAGE_URL = "image_url"
# Targets with a name of the user's own after the prefix: nutrient:fat:g, metadata:season.
NUTRIENT_PREFIX = "nutrient:"
METADATA_PREFIX = "metadata:"
_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


@dataclasses.dataclass(frozen=True)
class Field:
    """A target of a mapping.

    ``guesses`` are titles of columns that mean it in files of shops and programs, in English,
    German, French, Spanish, Italian and Dutch, as :func:`folded` writes them.
    """

    name: str
    label: str
    group: str
    guesses: frozenset[str]


def folded(title: str) -> str:
    """A title for comparing: without case, accents, blanks and punctuation."""
    decomposed = unicodedata.normalize("NFKD", title.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _NOT_ALPHANUMERIC.sub("", plain)


def _field(name: str, label: str, group: str, guesses: str = "") -> Field:
    """A field whose guesses are separated by commas and line ends."""
    own = [name.removeprefix(OFFER_PREFIX), name, label]
    titles = re.split(r"[,\n]", guesses)
    return Field(name, label, group, frozenset(map(folded, [*own, *titles])) - {""})


# The guesses have a line for each language.
FIELDS = {
    field.name: field
    for field in (
        _field(
            GTIN,
            "GTIN",
            PRODUCT,
            """
            EAN, EAN code, EAN number, EAN13, EAN-8, UPC, UPC code, UPC-A, GTIN UPC, GTIN EAN
            EAN GTIN, EAN UPC, GTIN-12, GTIN-13, GTIN-14, GTIN code, barcode, bar code, barcode EAN
            Variant Barcode, global trade item number, GTIN UPC EAN or ISBN, ISBN-13
            external product id
            EAN-Nummer, GTIN-Nummer, Artikel-EAN, Strichcode
            code-barres, code à barres, code EAN, gencod, gencode
            código de barras, código EAN, códigos de barras
            codice a barre, codice EAN
            streepjescode, EAN-codes
            """,
        ),
        _field(
            "name",
            "Name",
            PRODUCT,
            """
            product name, product title, title, item name, article name, product
            trade item description
            Artikelname, Artikelbezeichnung, Bezeichnung, Produktname, Produktbezeichnung
            Produkt, Titel
            nom, nom du produit, nom produit, libellé, désignation, titre, intitulé
            nombre, nombre del producto, nombre producto, título
            nome, nome prodotto, nome del prodotto, titolo
            naam, productnaam, artikelnaam
            """,
        ),
        _field(
            "description",
            "Description",
            PRODUCT,
            """
            product description, long description, short description, details, Body HTML
            Beschreibung, Produktbeschreibung, Artikelbeschreibung, Langtext, Kurzbeschreibung
            Langbeschreibung
            description du produit, description longue, descriptif
            descripción, descripción del producto, descripción larga
            descrizione, descrizione prodotto
            omschrijving, productomschrijving, beschrijving
            """,
        ),
        _field(
            "brand",
            "Brand",
            PRODUCT,
            """
            brand name, brands, vendor
            Marke, Markenname
            marque, nom de la marque
            marca, nombre de la marca
            nome marca
            merk, merknaam
            """,
        ),
        _field(
            "manufacturer",
            "Manufacturer",
            PRODUCT,
            """
            manufacturer name, producer, brand owner, maker
            Hersteller, Herstellername, Produzent
            fabricant, producteur
            fabricante, productor
            produttore, fabbricante
            fabrikant, producent
            """,
        ),
        _field(
            "category",
            "Category",
            PRODUCT,
            """
            categories, product category, product type, product group, branded food category
            Kategorie, Kategorien, Produktkategorie, Warengruppe, Produktgruppe
            catégorie, catégories, catégorie de produit, famille, rayon
            categoría, categorías, familia
            categoria, categorie prodotto
            categorie, productcategorie, productgroep
            """,
        ),
        _field(
            "gpc_brick_code",
            "GPC brick code",
            PRODUCT,
            """
            GPC, GPC brick, GPC code, brick code, GPC category code
            """,
        ),
        _field(
            "country_of_origin",
            "Country of origin",
            PRODUCT,
            """
            origin, origin country, made in, country of manufacture
            Ursprungsland, Herkunftsland, Herkunft
            pays d'origine, origine
            país de origen, origen
            paese di origine, paese d'origine
            land van herkomst, herkomst
            """,
        ),
        _field(
            "net_content",
            "Net content",
            PRODUCT,
            """
            net contents, net weight, quantity declared, package size, package weight
            Nettoinhalt, Nettofüllmenge, Füllmenge, Fuellmenge, Nettogewicht, Inhalt, Inhaltsmenge
            contenu net, poids net, contenance
            contenido neto, peso neto
            contenuto netto
            netto-inhoud, inhoud
            """,
        ),
        _field(
            "status",
            "Status",
            PRODUCT,
            """
            product status, lifecycle status
            """,
        ),
        _field(
            IMAGE_URL,
            "Image URL",
            PRODUCT,
            """
            image, images, image link, image src, image URLs, images URL, main image, main image URL
            product image, product image URL, picture, picture URL, photo, photo URL
            additional image link
            Bild, Bilder, Bild-URL, Bildlink, Bildadresse, Produktbild
            lien image, URL image, URL de l'image, photo produit
            imagen, imágenes, URL imagen, URL de la imagen
            immagine, immagini, URL immagine
            afbeelding, afbeeldingen, afbeelding-URL, foto, foto's
            """,
        ),
        _field(
            "serving_size",
            "Serving size",
            PRODUCT,
            """
            serving, portion, portion size
            Portionsgröße
            taille de portion
            tamaño de la porción
            porzione
            portiegrootte
            """,
        ),
        _field(
            "offer_channel",
            "Channel of the offer",
            OFFER,
            """
            sales channel
            Vertriebskanal
            """,
        ),
        _field(
            "offer_retailer",
            "Retailer",
            OFFER,
            """
            shop, shop name, seller, merchant, retailer name
            Händler, Haendler, Händlername, Verkäufer
            revendeur, vendeur, enseigne, détaillant
            vendedor, tienda, minorista
            rivenditore, negozio, venditore
            winkelier, verkoper, winkel
            """,
        ),
        _field(
            "offer_store",
            "Store",
            OFFER,
            """
            store name, branch
            Filiale
            magasin
            sucursal
            filiaal
            """,
        ),
        _field(
            "offer_sku",
            "Retailer's SKU",
            OFFER,
            """
            item SKU, variant SKU, article number, item number
            Artikelnummer, Art.-Nr., Artikelnr.
            référence, référence produit
            referencia
            codice articolo
            """,
        ),
        _field(
            "offer_url",
            "URL of the offer",
            OFFER,
            """
            link, product URL, product link, product page, page URL, deeplink, shop URL
            Produktlink, Produkt-URL, Artikellink
            lien, lien produit, URL produit, URL du produit
            enlace, URL del producto, enlace del producto
            collegamento, URL prodotto
            productlink
            """,
        ),
        _field(
            "offer_price",
            "Price",
            OFFER,
            """
            sales price, retail price, regular price, variant price, standard price
            Preis, Verkaufspreis, Bruttopreis
            prix, prix TTC, prix de vente
            precio, precio de venta, PVP
            prezzo, prezzo di vendita
            prijs, verkoopprijs
            """,
        ),
        _field(
            "offer_currency",
            "Currency",
            OFFER,
            """
            currency code, price currency
            Währung, Waehrung
            devise, monnaie
            moneda, divisa
            valuta
            """,
        ),
        _field(
            "offer_status",
            "Availability",
            OFFER,
            """
            offer status, stock status
            Verfügbarkeit, Verfuegbarkeit
            disponibilité
            disponibilidad
            disponibilità
            beschikbaarheid
            """,
        ),
        _field(
            "certification",
            "Certification",
            CERTIFICATE,
            """
            certification code, certification name, certificate
            Zertifikat, Zertifizierung
            certificat
            certificación, certificado
            certificazione, certificato
            certificering, certificaat
            """,
        ),
        _field("certification_label", "Name of the certification", CERTIFICATE),
        _field(
            "certificate_number",
            "Certificate number",
            CERTIFICATE,
            """
            certificate no, certificate id, registration number, license number
            certification number
            Zertifikatsnummer, Registriernummer
            numéro de certificat
            número de certificado
            numero certificato
            certificaatnummer
            """,
        ),
        _field(
            "issuing_body",
            "Issuing body",
            CERTIFICATE,
            """
            certification body, issuer, issued by, authority
            Zertifizierungsstelle
            organisme certificateur
            organismo certificador
            ente certificatore
            certificerende instantie
            """,
        ),
        _field(
            "valid_from",
            "Valid from",
            CERTIFICATE,
            """
            issue date, issued on, start date
            gültig ab, gueltig ab, gültig von
            valable à partir du
            válido desde
            valido dal
            geldig vanaf
            """,
        ),
        _field(
            "expiry_date",
            "Expiry date",
            CERTIFICATE,
            """
            expires, expiry, exp date, expiration date, expires on, valid until, valid to, end date
            gültig bis, gueltig bis, Ablaufdatum
            date d'expiration, valable jusqu'au
            fecha de caducidad, válido hasta
            data di scadenza, scadenza, valido fino al
            vervaldatum, geldig tot
            """,
        ),
        _field("verification_status", "Verification status", CERTIFICATE),
        _field(
            "verification_url",
            "Verification URL",
            CERTIFICATE,
            """
            certificate URL, certificate link
            """,
        ),
    )
}


def offer_field(target: str) -> str:
    """The field of an offer that a target is, empty for other targets."""
    name = target.removeprefix(OFFER_PREFIX)
    return name if target != name and name in OFFER_FIELDS else ""


def certificate_field(target: str) -> str:
    """The field of a certificate that a target is, empty for other targets."""
    name = {"certification_label": "label"}.get(target, target)
    return name if target != "label" and name in CERTIFICATE_FIELDS else ""
