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

    ``guesses`` are titles of columns that mean it in files of shops and programs, in the
    languages of Europe, as :func:`folded` writes them.
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
            UPC EAN, UPC EAN GTIN, EAN ISBN, product UPC EAN, product code EAN, EAN-13 UPC
            GTIN identifier, global trade number, item GTIN, consumer GTIN, each GTIN, unit UPC
            GTIN UPC EAN oder ISBN, GTIN UPC EAN ou ISBN, GTIN UPC EAN o ISBN, GTIN UPC EAN of ISBN
            GTIN UPC EAN lub ISBN, GTIN UPC EAN eller ISBN, GTIN UPC EAN veya ISBN
            EAN-Nummer, GTIN-Nummer, Artikel-EAN, Strichcode
            code-barres, code à barres, code EAN, gencod, gencode
            código de barras, código EAN, códigos de barras
            codice a barre, codice EAN
            streepjescode, EAN-codes
            kod EAN, kod kreskowy, kod paskowy
            streckkod, EAN-kod, stregkode, strekkode, viivakoodi, EAN-koodi
            čárový kód, EAN kód, vonalkód, cod EAN, cod de bare, barkod, barkod no
            """,
        ),
        _field(
            "name",
            "Name",
            PRODUCT,
            """
            product name, product title, title, item name, article name, product, item title
            trade item description, listing title, display name, product label
            Artikelname, Artikelbezeichnung, Bezeichnung, Produktname, Produktbezeichnung
            Produkt, Titel, Artikel, Artikeltext, Warenbezeichnung, Kurztext, Benennung
            nom, nom du produit, nom produit, libellé, désignation, titre, intitulé
            libellé produit, nom commercial, dénomination, désignation article
            nombre, nombre del producto, nombre producto, título, nombre artículo, denominación
            nome, nome prodotto, nome del prodotto, titolo, denominazione, nome articolo
            naam, productnaam, artikelnaam
            nazwa, nazwa produktu, nazwa towaru
            nome do produto
            namn, benämning, produktnamn, artikelnamn, navn, varenavn, produktnavn
            nimi, tuotenimi, tuotteen nimi
            název, název produktu, megnevezés, terméknév, név
            denumire, denumire produs, nume produs
            ürün adı, ürün adi
            """,
        ),
        _field(
            "description",
            "Description",
            PRODUCT,
            """
            product description, long description, short description, details, Body HTML
            item description, full description, marketing text, description long, body
            Beschreibung, Produktbeschreibung, Artikelbeschreibung, Langtext, Kurzbeschreibung
            Langbeschreibung
            description du produit, description longue, descriptif, description courte
            descripción, descripción del producto, descripción larga, descripción corta
            descrizione, descrizione prodotto, descrizione breve, descrizione estesa
            omschrijving, productomschrijving, beschrijving
            opis, opis produktu, opis towaru
            descrição, descrição do produto
            beskrivning, produktbeskrivning, beskrivelse, produktbeskrivelse, varebeskrivelse
            kuvaus, tuotekuvaus
            popis, popis produktu, leírás, termékleírás, descriere, descriere produs
            açıklama, ürün açıklaması
            """,
        ),
        _field(
            "brand",
            "Brand",
            PRODUCT,
            """
            brand name, brands, vendor, brand title, trademark, supplier or trademark
            product brand
            Marke, Markenname, Marken
            marque, nom de la marque, marques
            marca, nombre de la marca, marcas
            nome marca
            merk, merknaam
            marka, nazwa marki
            varumärke, märke, mærke, varemærke, merke, varemerke, merkki, tuotemerkki, brändi
            značka, márka, marcă
            """,
        ),
        _field(
            "manufacturer",
            "Manufacturer",
            PRODUCT,
            """
            manufacturer name, producer, brand owner, maker
            Hersteller, Herstellername, Produzent, Hersteller Name
            fabricant, producteur
            fabricante, productor
            produttore, fabbricante
            fabrikant, producent
            wytwórca, nazwa producenta
            tillverkare, produsent, valmistaja
            výrobce, výrobca, gyártó, producător, üretici
            """,
        ),
        _field(
            "category",
            "Category",
            PRODUCT,
            """
            categories, product category, product type, product group, branded food category
            category name, category path, product category name, product categories, main category
            eBay category 1 name
            Kategorie, Kategorien, Produktkategorie, Warengruppe, Produktgruppe
            Artikelgruppe, Sortiment
            catégorie, catégories, catégorie de produit, famille, rayon, famille produit
            categoría, categorías, familia
            categoria, categorie prodotto, gruppo merceologico
            categorie, productcategorie, productgroep, artikelgroep, categorieën
            kategoria, kategoria produktu, kategorie produktu, grupa towarowa
            kategori, varugrupp, produktkategori, varegruppe, produktgrupp, tuoteryhmä
            kategória
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
            kraj pochodzenia, pochodzenie
            país de origem
            ursprung, oprindelsesland, opprinnelsesland, alkuperämaa
            země původu, származási ország, țara de origine, menşei, menşe ülke
            """,
        ),
        _field(
            "net_content",
            "Net content",
            PRODUCT,
            """
            net contents, net weight, quantity declared, package size, package weight, pack size
            net quantity, net wt
            Nettoinhalt, Nettofüllmenge, Füllmenge, Fuellmenge, Inhalt, Inhaltsmenge
            Nennfüllmenge, Packungsgröße, Gebindegröße
            contenu net, poids net, contenance
            contenido neto, peso neto
            contenuto netto
            netto-inhoud, inhoud, nettogewicht, netto gewicht
            waga netto, masa netto, zawartość netto, ilość netto
            peso líquido, conteúdo líquido
            nettovikt, nettoinnehåll, nettovægt, nettoindhold, nettovekt, nettoinnhold, nettopaino
            hmotnost netto, čistá hmotnost, nettó tömeg, greutate netă, net ağırlık
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
            additional image link, image file, product image file, item photo URL, pic URL
            additional images, all images, photos, pictures, image URL import, cover media URL
            gallery image, front image, packshot, thumbnail URL, variant image, variant image URL
            Bild, Bilder, Bild-URL, Bildlink, Bildadresse, Produktbild, Hauptbild, Artikelbild
            Produktfoto
            lien image, URL image, URL de l'image, photo produit, photo principale, image principale
            imagen, imágenes, URL imagen, URL de la imagen, imagen principal, enlace de imagen
            immagine, immagini, URL immagine, immagine principale, link immagine
            afbeelding, afbeeldingen, afbeelding-URL, foto, foto's, hoofdafbeelding
            zdjęcie, zdjęcia, obraz, obrazek, URL zdjęcia, link do zdjęcia
            imagem, imagens, URL da imagem, foto do produto
            bildlänk, billede, billeder, bilde, bilder URL, billed-URL, kuva, kuvan URL
            obrázek, obrázky, URL obrázku, kép, kép URL, imagine, imagini, görsel, resim, resim URL
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
            indeks, artikelnummer leverancier, artnr
            """,
        ),
        _field(
            "offer_url",
            "URL of the offer",
            OFFER,
            """
            link, product URL, product link, product page, page URL, deeplink, shop URL, permalink
            external URL, landing page, item URL, listing URL
            Produktlink, Produkt-URL, Artikellink, Artikel-URL, Produktseite, Webadresse
            lien, lien produit, URL produit, URL du produit
            enlace, URL del producto, enlace del producto
            collegamento, URL prodotto
            productlink
            link do produktu, adres URL, link do produto
            länk, produktlänk, varelink, linkki, odkaz, termék link
            """,
        ),
        _field(
            "offer_price",
            "Price",
            OFFER,
            """
            sales price, retail price, regular price, variant price, standard price
            Preis, Verkaufspreis, Bruttopreis, UVP, VK-Preis, VK Brutto, Ladenpreis
            prix, prix TTC, prix de vente, prix public, tarif régulier
            precio, precio de venta, PVP, precio venta público, precio normal
            prezzo, prezzo di vendita, prezzo al pubblico, prezzo di listino
            prijs, verkoopprijs, adviesprijs
            cena, cena brutto, cena sprzedaży
            preço, preço de venda
            pris, försäljningspris, hinta, ár, bruttó ár, preț, fiyat, cena s DPH
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
            waluta, moeda, valuutta, měna, pénznem, monedă, para birimi
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
            dostępność, disponibilidade, tillgänglighet, tilgængelighed, tilgjengelighet, saatavuus
            dostupnost, elérhetőség, disponibilitate, stok durumu
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
            certificate no, certificate id, registration number, license number, licence number
            certification number, registration no, EPREL registration number, license no, licence no
            Zertifikatsnummer, Registriernummer, Zertifikat-Nr., Lizenznummer
            numéro de certificat, numéro de licence, n° de certificat
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
            certification body, issuer, issued by, authority, control body, certifier
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
            issue date, issued on, start date, date of issue, grant date, certification date
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
            date of expiry, valid through, expiry
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
