"""Mappings by hand: guessed, used, saved for a header, and refused."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from catalog.gtin import check_digit
from certifications.models import CertificationAssignment
from closient.accounts.models import Organization
from dashboard.imports import UnknownLayout, UnreadableFile
from dashboard.imports.engine import ImportFile
from dashboard.imports.files import InputFile
from dashboard.imports.formats import format_of
from dashboard.imports.layouts import is_header
from dashboard.imports.layouts.base import LayoutOptions
from dashboard.imports.layouts.fields import FIELDS, folded
from dashboard.imports.layouts.mapping import (
    InvalidMapping,
    check_mapping,
    fingerprint,
    guess,
    samples,
)
from dashboard.imports.saved_mappings import MAX_MAPPINGS, save_mapping
from dashboard.models import ImportMapping
from tests.counting import assert_exact
from tests.factories import OrganizationFactory
from tests.importing import (
    EAN,
    EAN_14,
    UPC,
    UPC_14,
    certificates,
    numbers,
    offers,
    product,
    run,
    stored,
    write,
)
from tests.shared_data import TELEVISIONS, needs_shared_data

pytestmark = pytest.mark.django_db

GERMAN = {"EAN-Code": "gtin", "Artikelname": "name"}
MORE_LANGUAGES = {
    "Polish": (
        "Kod kreskowy;Nazwa towaru;Marka;Producent;Kategoria;Opis;Kraj pochodzenia;Waga netto;"
        "Zdjęcie;Link do produktu;Cena (brutto);Waluta;Dostępność",
        "gtin name brand manufacturer category description country_of_origin net_content "
        "image_url offer_url offer_price offer_currency offer_status",
    ),
    "Portuguese": (
        "Código de barras;Nome do produto;Marca;Fabricante;Descrição;Preço;Moeda;Link do produto",
        "gtin name brand manufacturer description offer_price offer_currency offer_url",
    ),
    "Swedish": (
        "EAN-kod;Benämning;Varumärke;Tillverkare;Varugrupp;Beskrivning;Bildlänk;Ursprungsland",
        "gtin name brand manufacturer category description image_url country_of_origin",
    ),
    "Czech": (
        "Čárový kód;Název;Značka;Výrobce;Popis;Obrázek;Odkaz;Cena s DPH;Měna;Sklad",
        "gtin name brand manufacturer description image_url offer_url offer_price offer_currency -",
    ),
    "Turkish": (
        "Barkod;Ürün Adı;Marka;Üretici;Açıklama;Görsel",
        "gtin name brand manufacturer description image_url",
    ),
}


# --- Guesses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("titles", "targets"),
    [
        (
            "EAN-Code;Artikelname;Marke;Hersteller;Warengruppe;Beschreibung;Herkunftsland;"
            "Füllmenge;Bild-URL;Produktlink;Preis;Währung;Verfügbarkeit;Händler;Lagerplatz",
            "gtin name brand manufacturer category description country_of_origin net_content "
            "image_url offer_url offer_price offer_currency offer_status offer_retailer -",
        ),
        (
            "Code-barres;Désignation;Marque;Fabricant;Catégorie;Descriptif;Pays d'origine;"
            "Contenu net;Lien image;Lien;Prix TTC;Devise;Disponibilité;Référence;Rayonnage",
            "gtin name brand manufacturer category description country_of_origin net_content "
            "image_url offer_url offer_price offer_currency offer_status offer_sku -",
        ),
        (
            "Código de barras;Nombre del producto;Marca;Fabricante;Categoría;Descripción;"
            "País de origen;Contenido neto;Imagen;Enlace;Precio;Moneda;Disponibilidad;Tienda",
            "gtin name brand manufacturer category description country_of_origin net_content "
            "image_url offer_url offer_price offer_currency offer_status offer_retailer",
        ),
        (
            "Codice a barre;Nome prodotto;Marca;Produttore;Categoria;Descrizione;"
            "Paese di origine;Contenuto netto;Immagine;URL prodotto;Prezzo;Valuta;Disponibilità",
            "gtin name brand manufacturer category description country_of_origin net_content "
            "image_url offer_url offer_price offer_currency offer_status",
        ),
        (
            "Streepjescode;Productnaam;Merk;Fabrikant;Categorie;Omschrijving;"
            "Land van herkomst;Netto inhoud;Afbeelding;Productlink;Prijs;Beschikbaarheid",
            "gtin name brand manufacturer category description country_of_origin net_content "
            "image_url offer_url offer_price offer_status",
        ),
        (
            "UPC Code;PRODUCT_NAME;Brand Name;GPC Brick;Image_URL_2;Serving Size;"
            "Certification;Certificate No.;Issued by;Valid From;Valid until",
            "gtin name brand gpc_brick_code image_url serving_size certification "
            "certificate_number issuing_body valid_from expiry_date",
        ),
        *MORE_LANGUAGES.values(),
    ],
    ids=["German", "French", "Spanish", "Italian", "Dutch", "English", *MORE_LANGUAGES],
)
def test_titles_are_guessed_in_many_languages(titles: str, targets: str) -> None:
    columns = titles.split(";")
    wanted = dict(zip(columns, targets.split(), strict=True))
    expected = {title: target for title, target in wanted.items() if target != "-"}
    assert guess(columns, [[] for _ in columns]) == expected


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        # What programs add to titles: a language, a unit, a kind, the place in a tree.
        ("ean;name_de;name_en;Beschreibung [de]", "gtin name - description"),
        ("P:EAN;*Title;C:Brand;PicURL;*StartPrice", "gtin name brand image_url -"),
        ("EAN Karton;EAN Stück;Bezeichnung 1;UVP", "- gtin name -"),
        ("attributes.ean;attributes.brand;item.name", "gtin brand name"),
        ("GTIN, UPC, EAN oder ISBN;Name;Kurzbeschreibung;Beschreibung", "gtin name - description"),
        ("Product UPC/EAN;Product Name;Product Type;Category", "gtin name - category"),
        ("ean;manufacturer_name;cover_media_url", "gtin manufacturer image_url"),
    ],
)
def test_titles_are_guessed_by_their_parts(titles: str, expected: str) -> None:
    columns = titles.split(";")
    wanted = dict(zip(columns, expected.split(), strict=True))
    assert guess(columns, [[] for _ in columns]) == {
        title: target for title, target in wanted.items() if target != "-"
    }


def test_short_descriptions_are_names_in_a_file_without_names() -> None:
    titles = ["Codice EAN", "Descrizione", "Descrizione estesa"]
    assert guess(titles, [[EAN], ["Penne 500 g"], ["Di grano duro"]]) == {
        "Codice EAN": "gtin",
        "Descrizione": "name",
        "Descrizione estesa": "description",
    }
    long = ["Di grano duro, " * 20]
    assert guess(titles[:2], [[EAN], long])["Descrizione"] == "description"
    assert guess(["EAN", "Nome", "Descrizione"], [[EAN], ["Penne"], ["Penne 500 g"]]) == {
        "EAN": "gtin",
        "Nome": "name",
        "Descrizione": "description",
    }


def test_a_field_is_not_suggested_for_values_that_it_rejects() -> None:
    titles = ["EAN", "Titel", "Status", "Herkunft", "Nettogewicht", "Marke"]
    rejected = [[EAN], ["Oats"], ["publish"], ["Hof Huber"], ["0.5"], ["17"]]
    assert guess(titles, rejected) == {"EAN": "gtin", "Titel": "name"}
    fitting = [[EAN], ["Oats"], ["Draft"], ["Österreich"], ["500 g"], ["Acme"]]
    assert len(guess(titles, fitting)) == len(titles)


def test_a_title_suggests_one_field_only() -> None:
    counts = Counter(title for field in FIELDS.values() for title in field.guesses)
    # The status of a product and that of an offer: the product's is meant.
    assert {title for title, count in counts.items() if count > 1} == {"status"}
    assert all(folded(title) == title for title in counts)


def test_values_decide_where_titles_do_not() -> None:
    titles = ["A", "B", "C", "D", "E"]
    values = [
        ["1001", "1002", "1003"],
        [EAN, UPC, "unknown"],
        ["https://cdn.example.com/1.JPG?size=2", "https://cdn.example.com/2.webp"],
        ["https://shop.example.com/1", "https://shop.example.com/2"],
        ["http://[bad/1", "text"],
    ]
    assert guess(titles, values) == {"B": "gtin", "C": "image_url", "D": "offer_url"}


def test_values_overrule_titles() -> None:
    titles = ["EAN", "Barcode", "UPC", "Image", "Name", "_reason"]
    values = [["A-17", "B-2"], ["1234", "5678"], [UPC], ["files/1.jpg"], ["Oats"], ["x"]]
    assert guess(titles, values) == {"UPC": "gtin", "Name": "name"}
    # A spreadsheet's damage is still a GTIN, whose rows then say what is wrong.
    assert guess(["EAN"], [["4.00638E+12"]]) == {"EAN": "gtin"}
    # The first column with a field counts, except for images and for the fuller of two GTINs.
    assert guess(["Name", "Title", "Bild 1", "Bild 2"], [[], [], [], []]) == {
        "Name": "name",
        "Bild 1": "image_url",
        "Bild 2": "image_url",
    }
    assert guess(["EAN13", "UPC"], [[], [UPC, EAN]]) == {"UPC": "gtin"}


def test_offers_and_certificates_are_guessed_when_they_can_be_imported() -> None:
    assert guess(["EAN", "Preis", "SKU"], [[EAN], ["1.99"], ["A1"]]) == {"EAN": "gtin"}
    assert guess(["EAN", "Valid until"], [[EAN], ["2030-12-31"]]) == {"EAN": "gtin"}


def test_samples_are_the_first_different_values_of_each_column(tmp_path: Path) -> None:
    rows = ["a;;1", " a ;x;2", "b;;3", "bad", "c;y;4", "d;z;5"]
    path = write(tmp_path, "\n".join(["one;two;three", *rows]))
    source = InputFile(path)
    table = format_of(source).open(source, is_header)
    assert samples(table) == [["a", "b", "bad"], ["x", "y", "z"], ["1", "2", "3"]]
    assert samples(table, 1) == [["a"], ["x"], ["1"]]


# --- Imports ----------------------------------------------------------------------------------


def test_mapping_creates_products_offers_and_certificates(
    organization: Organization, tmp_path: Path
) -> None:
    mapping = {
        "EAN 13": "gtin",
        "Ersatz-EAN": "gtin",
        "Titel": "name",
        "Bild": "image_url",
        "Fett": "nutrient:fat:g",
        "Saison": "metadata:season",
        "Link": "offer_url",
        "Preis": "offer_price",
        "Bestand": "offer_status",
        "Siegel": "certification",
        "=Control Union": "issuing_body",
        "bis": "expiry_date",
    }
    cells = [
        "EAN 13;Ersatz-EAN;Titel;Bild;Bild;Fett;Saison;Link;Preis;Bestand;Siegel;bis;Lager",
        f"{EAN};;Oats;https://cdn.example.com/1.jpg;https://cdn.example.com/2.jpg;1.5;winter;"
        "https://shop.example.com/1;1.99;out of stock;organic;2030-12-31;A1",
        f";{UPC};Tissues;;;;;;9.99;;;;A2",
    ]
    path = write(tmp_path, "\n".join(cells))
    options = LayoutOptions(retailer="Acme Shop", currency="EUR")
    result = run(path, organization, mapping=mapping, layout_options=options)

    assert numbers(result) == (2, 2, 0, 0, 0)
    assert result.ignored_columns == ("Lager",)
    assert stored(organization) == [
        product(gtin=UPC_14, name="Tissues"),
        product(
            gtin=EAN_14,
            name="Oats",
            nutrition={"nutrients": [{"name": "fat", "amount": "1.5", "unit": "g"}]},
            metadata={"season": "winter"},
            images=["https://cdn.example.com/1.jpg", "https://cdn.example.com/2.jpg"],
        ),
    ]
    assert offers(organization) == [
        {
            "gtin": EAN_14,
            "retailer": "Acme Shop",
            "url": "https://shop.example.com/1",
            "price": "1.99",
            "currency": "EUR",
            "status": "out_of_stock",
        }
    ]
    assert certificates(organization) == [
        {
            "gtin": EAN_14,
            "certification": "organic",
            "body": "Control Union",
            "expiry_date": "2030-12-31",
        }
    ]
    assert_exact(organization)


def test_mapping_without_fields_of_the_product_creates_none(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, f"gtin,name\n{EAN},Oats\n", "base.csv"), organization)
    rows = [
        f"{EAN},in_store,Mart,Main Street,",
        f"{EAN},,Shop,,https://shop.example.com/1",
        f"{UPC},in_store,Mart,Main Street,",
    ]
    path = write(tmp_path, "\n".join(["code,where,who,branch,page", *rows]))
    mapping = {
        "code": "gtin",
        "where": "offer_channel",
        "who": "offer_retailer",
        "branch": "offer_store",
        "page": "offer_url",
    }
    result = run(path, organization, mapping=mapping, skip_bad_rows=True)
    assert numbers(result) == (3, 2, 0, 0, 1)
    assert [str(problem) for problem in result.problems] == [
        "line 4: gtin: the organization has no product with this GTIN; import the product first"
    ]
    assert offers(organization) == [
        {"gtin": EAN_14, "retailer": "Mart", "store": "Main Street", "status": "active"},
        {
            "gtin": EAN_14,
            "retailer": "Shop",
            "url": "https://shop.example.com/1",
            "status": "active",
        },
    ]


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({}, "No column is mapped to gtin"),
        ({"Titel": "name"}, "No column is mapped to gtin"),
        ({"EAN": "gtin"}, "Only the GTIN is mapped"),
        ({"EAN": "gtin", "Titel": "titel"}, "There is no field 'titel': a target is one of gtin"),
        ({"EAN": "gtin", "Fett": "nutrient:fat"}, "There is no field 'nutrient:fat'"),
        ({"EAN": "gtin", "x": "metadata:"}, "There is no field 'metadata:'"),
        ({"EAN": "gtin", "Preis": "offer_price"}, "An online offer needs the URL of its page"),
        ({"EAN": "gtin", "bis": "expiry_date"}, "A certificate needs its certification"),
        ({"EAN": "gtin", " ": "name"}, "The title of a column has 1 to 500 characters"),
        ({"EAN": "gtin", "x" * 501: "name"}, "The title of a column has 1 to 500 characters"),
        ({"EAN": "gtin", "Titel": 1}, "A mapping must be an object of strings"),
        ({f"c{number}": "gtin" for number in range(501)}, "at most 500 columns"),
    ],
)
def test_mapping_that_cannot_work_is_refused(mapping: dict[Any, Any], reason: str) -> None:
    with pytest.raises(InvalidMapping, match=reason):
        check_mapping(mapping)


def test_mapping_names_a_column_that_the_file_does_not_have(tmp_path: Path) -> None:
    path = write(tmp_path, f"EAN-Code;Titel\n{EAN};Oats\n")
    with pytest.raises(UnreadableFile) as refused:
        ImportFile(path, mapping=GERMAN)
    assert str(refused.value) == (
        "line 1: The mapping names a column 'Artikelname', which the file does not have. Its "
        "columns are: EAN-Code, Titel."
    )


def test_file_without_a_layout_comes_with_a_suggestion(tmp_path: Path) -> None:
    path = write(tmp_path, f"Nr;EAN-Code;Artikelname\n1;{EAN};Oats\n")
    with pytest.raises(UnknownLayout) as refused:
        ImportFile(path)
    assert refused.value.suggestion == GERMAN


# --- Saved mappings -----------------------------------------------------------------------------


def test_own_csv_suggests_what_it_ignores(tmp_path: Path) -> None:
    path = write(tmp_path, f"EAN,Name,Foto,Lager\n{EAN},Oats,https://cdn.example.com/1.jpg,5\n")
    detected = ImportFile(path).detected
    assert (detected.layout, detected.unused) == ("csv", {"Foto": "image_url"})
    assert detected.suggestion == {"EAN": "gtin", "Name": "name", "Foto": "image_url"}
    assert detected.as_json()["unused"] == [{"column": "Foto", "field": "image_url"}]


def test_known_layout_without_gtins_comes_with_a_suggestion(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"id,title,link,image_link\n{EAN},Oats,https://s.example.com/1,https://c.example.com/1.jpg\n",
    )
    with pytest.raises(UnknownLayout, match="The feed has no column gtin") as refused:
        ImportFile(path)
    assert refused.value.suggestion == {
        "id": "gtin",
        "title": "name",
        "link": "offer_url",
        "image_link": "image_url",
    }


def test_saved_mapping_is_used_for_the_next_file_with_the_same_header(
    organization: Organization, tmp_path: Path
) -> None:
    first = write(tmp_path, f"EAN-Code;Artikelname\n{EAN};Oats\n")
    save_mapping(organization, ImportFile(first, mapping=GERMAN).names, GERMAN, "ERP")

    # The columns in another order, with another delimiter, and corrected rejects.
    second = write(tmp_path, f"Artikelname,_line,ean-code ,_reason\nOats,2,{EAN},why\n", "2.csv")
    assert numbers(run(second, organization)) == (1, 1, 0, 0, 0)
    assert stored(organization) == [product(gtin=EAN_14, name="Oats")]

    other = write(tmp_path, f"EAN-Code;Artikelname;Marke\n{EAN};Oats;Acme\n", "3.csv")
    with pytest.raises(UnknownLayout):
        run(other, organization)
    with pytest.raises(UnknownLayout):
        run(first, OrganizationFactory())


def test_mapped_columns_tell_the_delimiter(organization: Organization, tmp_path: Path) -> None:
    # More commas than semicolons.
    path = write(tmp_path, f"EAN-Code;Artikelname;Preis, netto, EUR, 2026\n{EAN};Oats;1\n")
    with pytest.raises(UnknownLayout):
        run(path, organization)
    file = ImportFile(path, mapping=GERMAN)
    assert file.detected.delimiter == ";"
    save_mapping(organization, file.names, GERMAN)
    assert run(path, organization).ignored_columns == ("Preis, netto, EUR, 2026",)
    assert stored(organization) == [product(gtin=EAN_14, name="Oats")]


def test_saved_mapping_precedes_the_layouts_and_can_be_overruled(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,name,title\n{EAN},A1,Oats\n")
    save_mapping(organization, ["gtin", "name", "title"], {"gtin": "gtin", "title": "name"})
    run(path, organization)
    assert stored(organization)[0]["name"] == "Oats"
    run(path, organization, layout="csv")
    assert stored(organization)[0]["name"] == "A1"
    run(path, organization, mapping={"gtin": "gtin", "name": "description"})
    assert stored(organization)[0]["description"] == "A1"


def test_saving_a_mapping_again_replaces_it(organization: Organization) -> None:
    names = ["ean-code", "artikelname"]
    first = save_mapping(organization, names, GERMAN, "ERP")
    first.refresh_from_db()
    second = save_mapping(
        organization, names[::-1], {" EAN-Code": "gtin", "Artikelname": " brand"}, "ERP 2"
    )
    second.refresh_from_db()
    assert first.pk == second.pk
    assert (second.name, second.columns) == ("ERP 2", {"EAN-Code": "gtin", "Artikelname": "brand"})
    assert second.updated_at >= first.updated_at
    assert list(ImportMapping.objects.of(organization)) == [second]
    with pytest.raises(IntegrityError):
        ImportMapping.objects.create(
            organization=organization, fingerprint=fingerprint(names), columns=GERMAN
        )


def test_mappings_are_limited(organization: Organization) -> None:
    ImportMapping.objects.bulk_create(
        ImportMapping(organization=organization, fingerprint=f"{number:064}", columns=GERMAN)
        for number in range(MAX_MAPPINGS)
    )
    with pytest.raises(InvalidMapping, match="at most 200 mappings: delete one first"):
        save_mapping(organization, ["ean-code"], GERMAN)
    with pytest.raises(InvalidMapping, match="at most 100 characters"):
        save_mapping(organization, ["ean-code"], GERMAN, "x" * 101)
    with pytest.raises(InvalidMapping, match="no columns that could be mapped"):
        save_mapping(organization, [], GERMAN)


def test_looking_for_a_saved_mapping_takes_one_query(
    organization: Organization, tmp_path: Path
) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},Oats\n")
    with CaptureQueriesContext(connection) as queries:
        ImportFile(path, organization=organization)
    # The fingerprints of the organization; the columns only of a header that it has.
    assert len(queries) == 1
    save_mapping(organization, ["gtin", "name"], {"gtin": "gtin", "name": "brand"})
    with CaptureQueriesContext(connection) as queries:
        ImportFile(path, organization=organization)
    assert len(queries) == 2


# --- The register of televisions --------------------------------------------------------------


@pytest.mark.slow
@needs_shared_data
def test_register_of_televisions_becomes_certificates(
    organization: Organization, tmp_path: Path
) -> None:
    """Each row gets a GTIN of the range for use inside a company, and becomes a certificate."""
    rows = list(csv.DictReader(io.StringIO(TELEVISIONS.read_text("utf-8"))))
    for number, row in enumerate(rows):
        digits = f"20{number:010}"
        row["Own number"] = f"{digits}{check_digit(digits)}"
    path = tmp_path / "register.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    products = {"Own number": "gtin", "Model_No": "name", "Brand_Reg": "brand"}
    run(path, organization, mapping=products)
    result = run(
        path,
        organization,
        mapping={
            "Own number": "gtin",
            "=energy-rating": "certification",
            "Registration Number": "certificate_number",
            "=GEMS Regulator": "issuing_body",
            "ExpDate": "expiry_date",
        },
    )

    assert result.tables["products"] == (0, 0)
    assert result.tables["certificates"] == (len(rows), 0)
    found = CertificationAssignment.objects.of(organization).values_list(
        "product__gtin",
        "certification__code",
        "certificate_number",
        "issuing_body",
        "expiry_date",
    )
    assert sorted((*texts, day.isoformat() if day else "") for *texts, day in found) == sorted(
        (
            f"0{row['Own number']}",
            "energy-rating",
            row["Registration Number"],
            "GEMS Regulator",
            row["ExpDate"],
        )
        for row in rows
    )
    assert sum(row["ExpDate"] != "" for row in rows) == 4851
