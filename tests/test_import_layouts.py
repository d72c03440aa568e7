"""Import layouts: the files of shops, feeds and catalogs, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from catalog.models import Product
from certifications.exporting import HEADER as CERTIFICATES_HEADER
from closient.accounts.models import Organization
from dashboard.imports import UnknownLayout, UnreadableFile
from dashboard.imports.engine import ImportFile
from dashboard.imports.formats.base import column_name
from dashboard.imports.layouts import LAYOUTS, recognized
from dashboard.imports.layouts.base import LayoutOptions
from dashboard.imports.layouts.columns import localized
from dashboard.imports.layouts.converters import availability
from dashboard.imports.layouts.magento import attributes
from offers.exporting import HEADER as OFFERS_HEADER
from tests.counting import assert_exact
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

pytestmark = pytest.mark.django_db

EAN_8, EAN_8_14 = "96385074", "00000096385074"
MARKET = "[marketplace_id=APJ6JRA9NG5V4]"
HOST = "shop.example.com"
CDN, SHOP = "https://cdn.example.com", f"https://{HOST}"


class Case(NamedTuple):
    """A file of a layout, and what it creates; ``rejected`` are the reasons."""

    layout: str
    rows: list[dict[str, str]]
    products: list[dict[str, Any]]
    offers: list[dict[str, Any]] = []
    certificates: list[dict[str, Any]] = []
    rejected: list[str] = []
    options: LayoutOptions = LayoutOptions()
    ignored: tuple[str, ...] = ()


def table(case: Case) -> str:
    """The rows of a case with tabs between the cells."""
    keys = list(dict.fromkeys(title for row in case.rows for title in row))
    lines = [[row.get(key, "") for key in keys] for row in case.rows]
    return "".join("\t".join(cells) + "\n" for cells in [titles(case), *lines])


def titles(case: Case) -> list[str]:
    """The titles of a case: in its rows, a number makes those of repeated columns different."""
    keys = dict.fromkeys(title for row in case.rows for title in row)
    return [key.removesuffix(" 2").removesuffix(" 3") for key in keys]


CASES = {
    "google": Case(
        "google",
        [
            {
                "id": "A1",
                "title": "Oat drink",
                "description": "1 l",
                "Link": f"{SHOP}/drink?a=1",
                "image link": f"{CDN}/1.jpg",
                "additional image link": f"{CDN}/2.jpg,{CDN}/3.jpg",
                "additional image link 2": f"{CDN}/4.jpg",
                "availability": "preorder",
                "price": "15.00 USD",
                "brand": "Acme",
                "gtin": EAN,
                "google product category": "412",
                "product type": "Food > Drinks",
                "certification": "EC:EPREL:123456, European_Commission:ECO:7",
                "adult": "no",
            },
            {
                "id": "A2",
                "title": "Oat bar",
                "Link": f"{SHOP}/bar",
                "availability": "out of stock",
                "price": "0.99 EUR",
                "gtin": UPC,
                "google product category": "Food Items",
            },
            {"id": "A3", "title": "Mug", "Link": f"{SHOP}/mug", "adult": "no"},
        ],
        [
            product(gtin=UPC_14, name="Oat bar", category="Food Items"),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="1 l",
                brand="Acme",
                category="Food > Drinks",
                images=[f"{CDN}/{n}.jpg" for n in (1, 2, 3, 4)],
            ),
        ],
        [
            {
                "gtin": UPC_14,
                "retailer": "Acme Shop",
                "sku": "A2",
                "url": f"{SHOP}/bar",
                "price": "0.99",
                "currency": "EUR",
                "status": "out_of_stock",
            },
            {
                "gtin": EAN_14,
                "retailer": "Acme Shop",
                "sku": "A1",
                "url": f"{SHOP}/drink?a=1",
                "price": "15.00",
                "currency": "USD",
                "status": "active",
            },
        ],
        [
            {"gtin": EAN_14, "certification": "ECO", "number": "7", "body": "European_Commission"},
            {"gtin": EAN_14, "certification": "EPREL", "number": "123456", "body": "EC"},
        ],
        ["line 4: gtin: is missing"],
        LayoutOptions(retailer="Acme Shop"),
        ("adult",),
    ),
    "google feed": Case(
        "google",
        [
            {
                "g:id": "A1",
                "title": "Oat drink",
                "link": f"{SHOP}/drink",
                "g:gtin": EAN,
                "g:availability": "in_stock",
                "g:certification:certification_authority": "EC",
                "g:certification:certification_name": "EPREL",
                "g:certification:certification_code": "5",
                "g:certification_authority": "FSC",
                "g:certification_name": "Forest",
                "g:certification_code": "6",
            }
        ],
        [product(gtin=EAN_14, name="Oat drink")],
        [
            {
                "gtin": EAN_14,
                "sku": "A1",
                "retailer": HOST,
                "url": f"{SHOP}/drink",
                "status": "active",
            }
        ],
        [
            {"gtin": EAN_14, "certification": "EPREL", "number": "5", "body": "EC"},
            {"gtin": EAN_14, "certification": "Forest", "number": "6", "body": "FSC"},
        ],
    ),
    "shopify until 2025": Case(
        "shopify",
        [
            {
                "Handle": "oat-drink",
                "Title": "Oat drink",
                "Body (HTML)": "One liter",
                "Vendor": "Acme",
                "Product Category": "",
                "Type": "Drinks",
                "Option1 Name": "Size",
                "Option1 Value": "1 l",
                "Variant SKU": "S1",
                "Variant Price": "1.99",
                "Variant Barcode": f"'{EAN}",
                "Image Src": f"{CDN}/1.jpg",
                "Variant Image": f"{CDN}/2.jpg",
                "Status": "active",
            },
            {
                "Handle": "oat-drink",
                "Option1 Value": "2 l",
                "Variant Price": "3.49",
                "Variant Barcode": UPC,
                "Image Src": f"{CDN}/2.jpg",
            },
            {
                "Handle": "oat-drink",
                "Option1 Value": "5 l",
                "Option2 Value": "0% fat™",
                "Variant Price": "7.99",
            },
            {"Handle": "oat-drink", "Image Src": f"{CDN}/3.jpg"},
            {
                "Handle": "bar",
                "Title": "Oat bar",
                "Variant Price": "0.99",
                "Variant Barcode": f"'{EAN_8}",
                "Status": "archived",
            },
            {"Handle": "mug", "Title": "Mug", "Option1 Value": "Default Title", "Status": "draft"},
        ],
        [
            product(gtin=EAN_8_14, name="Oat bar", status="discontinued"),
            product(
                gtin=UPC_14,
                name="Oat drink",
                description="One liter",
                brand="Acme",
                category="Drinks",
                images=[f"{CDN}/{n}.jpg" for n in (2, 1, 3)],
            ),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="One liter",
                brand="Acme",
                category="Drinks",
                images=[f"{CDN}/{n}.jpg" for n in (2, 1, 3)],
            ),
        ],
        rejected=[
            "line 4: gtin: is missing: the variant '5 l / 0% fat™' of 'Oat drink' has no barcode",
            "line 7: gtin: is missing: the variant of 'Mug' has no barcode",
        ],
        ignored=("Option1 Name", "Option1 Value", "Variant SKU", "Variant Price", "Option2 Value"),
    ),
    "shopify since 2025": Case(
        "shopify",
        [
            {
                "Title": "Oat drink",
                "URL handle": "oat-drïnk",
                "Description": "One liter",
                "Vendor": "Acme",
                "Product category": "Drinks",
                "Status": "Active",
                "SKU": "S1",
                "Barcode": EAN,
                "Price": "1.99",
                "Product image URL": f"{CDN}/1.jpg",
            },
            {"URL handle": "oat-drïnk", "Barcode": UPC, "Price": "3.49"},
            {"Title": "Bar", "URL handle": "bar", "Status": "Archived", "Barcode": EAN_8},
            {
                "Title": "Jam",
                "URL handle": "jam",
                "Status": "Draft",
                "Barcode": "4012345678901",
                "Price": "5",
            },
        ],
        [
            product(gtin=EAN_8_14, name="Bar", status="discontinued"),
            product(
                gtin=UPC_14,
                name="Oat drink",
                description="One liter",
                brand="Acme",
                category="Drinks",
                images=[f"{CDN}/1.jpg"],
            ),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="One liter",
                brand="Acme",
                category="Drinks",
                images=[f"{CDN}/1.jpg"],
            ),
            product(gtin="04012345678901", name="Jam", status="draft"),
        ],
        [
            {
                "gtin": EAN_8_14,
                "retailer": HOST,
                "url": f"{SHOP}/products/bar",
                "status": "discontinued",
            },
            {
                "gtin": UPC_14,
                "retailer": HOST,
                "url": f"{SHOP}/products/oat-dr%C3%AFnk",
                "price": "3.49",
                "currency": "EUR",
                "status": "active",
            },
            {
                "gtin": EAN_14,
                "sku": "S1",
                "retailer": HOST,
                "url": f"{SHOP}/products/oat-dr%C3%AFnk",
                "price": "1.99",
                "currency": "EUR",
                "status": "active",
            },
        ],
        options=LayoutOptions(shop=f"{SHOP}/", currency="EUR"),
    ),
    "shopify without a currency": Case(
        "shopify",
        [{"Title": "Jam", "URL handle": "jam", "Barcode": EAN, "Price": "5"}],
        [product(gtin=EAN_14, name="Jam")],
        [{"gtin": EAN_14, "retailer": HOST, "url": f"{SHOP}/products/jam", "status": "active"}],
        options=LayoutOptions(shop=SHOP),
    ),
    "woocommerce": Case(
        "woocommerce",
        [
            {
                "ID": "1",
                "Type": "simple",
                "GTIN, UPC, EAN, or ISBN": EAN,
                "Name": "Oat drink",
                "Published": "1",
                "Short description": "Short",
                "Description": "'-20% sugar",
                "Categories": "Food > Drinks\\, cold, Vegan",
                "Images": f"{CDN}/1.jpg, {CDN}/2.jpg",
                "Brands": "Acme, Other",
            },
            {"ID": "2", "GTIN, UPC, EAN, or ISBN": UPC, "Name": "Bar", "Published": "2"},
            {"ID": "3", "Type": "variable", "Name": "All bars", "Published": "-1"},
        ],
        [
            product(gtin=UPC_14, name="Bar", status="draft"),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="-20% sugar",
                brand="Acme",
                category="Food > Drinks, cold",
                images=[f"{CDN}/1.jpg", f"{CDN}/2.jpg"],
            ),
        ],
        rejected=["line 4: gtin: is missing"],
        ignored=("ID", "Type"),
    ),
    "prestashop": Case(
        "prestashop",
        [
            {
                "Product ID": "1",
                "Active (0/1)": "1",
                "Name *": "Oat drink",
                "Categories (x,y,z...)": "Drinks,Vegan",
                "Manufacturer": "Acme",
                "EAN13": EAN,
                "UPC": "",
                "Summary": "Short",
                "Description": "",
                "Image URLs (x,y,z...)": f"{CDN}/1.jpg,{CDN}/2.jpg",
            },
            {"Product ID": "2", "Active (0/1)": "0", "Name *": "Bar", "UPC": UPC},
        ],
        [
            product(gtin=UPC_14, name="Bar", status="draft"),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="Short",
                brand="Acme",
                manufacturer="Acme",
                category="Drinks",
                images=[f"{CDN}/1.jpg", f"{CDN}/2.jpg"],
            ),
        ],
        ignored=("Product ID",),
    ),
    "amazon since 2024": Case(
        "amazon",
        [
            {
                "contribution_sku#1.value": "S1",
                "::record_action": "Create or Replace (Full Update)",
                f"item_name{MARKET}[language_tag=de_DE]#1.value": "Haferdrink",
                f"brand{MARKET}[language_tag=de_DE]#1.value": "Acme",
                "externally_assigned_product_identifier#1.type": "EAN",
                "externally_assigned_product_identifier#1.value": EAN,
                f"product_description{MARKET}[language_tag=de_DE]#1.value": "Ein Liter",
                f"manufacturer{MARKET}#1.value": "Acme Mills",
                f"main_product_image_locator{MARKET}#1.media_location": f"{CDN}/1.jpg",
                f"other_product_image_locator_1{MARKET}#1.media_location": f"{CDN}/2.jpg",
                f"country_of_origin{MARKET}#1.value": "Deutschland",
            },
            {
                "contribution_sku#1.value": "S2",
                "externally_assigned_product_identifier#1.type": "ASIN",
                "externally_assigned_product_identifier#1.value": "B000000001",
            },
        ],
        [
            product(
                gtin=EAN_14,
                name="Haferdrink",
                description="Ein Liter",
                brand="Acme",
                manufacturer="Acme Mills",
                country_of_origin="DE",
                images=[f"{CDN}/1.jpg", f"{CDN}/2.jpg"],
            )
        ],
        rejected=[
            "line 3: gtin: is missing: external_product_id is of the type ASIN, not one of "
            "EAN, UPC, GTIN, ISBN"
        ],
    ),
    "woocommerce before 9.2": Case(
        "woocommerce",
        [
            {
                "SKU": "S1",
                "Name": "Oat drink",
                "Published": "1",
                "Visibility in catalog": "visible",
                "Tax status": "taxable",
                "Images": f"{CDN}/1.jpg",
                "Meta: _alg_ean": EAN,
            },
        ],
        [product(gtin=EAN_14, name="Oat drink", images=[f"{CDN}/1.jpg"])],
    ),
    "magento with attributes in columns": Case(
        "magento",
        [
            {
                "sku": "S1",
                "attribute_set_code": "Default",
                "name": "Oat drink",
                "ean": EAN,
                "manufacturer": "Acme Mills",
            },
        ],
        [product(gtin=EAN_14, name="Oat drink", manufacturer="Acme Mills")],
    ),
    "magento": Case(
        "magento",
        [
            {
                "sku": "S1",
                "store_view_code": "",
                "attribute_set_code": "Default",
                "product_type": "simple",
                "categories": "Default Category/Drinks,Default Category",
                "name": "Oat drink",
                "description": "One liter",
                "product_online": "1",
                "base_image": "/o/a/oats.jpg",
                "country_of_manufacture": "DE",
                "additional_attributes": (
                    f'note=a, b,"ean={EAN}",manufacturer="Acme, Inc.",brand=Acme'
                ),
                "additional_images": f"/1.jpg,{CDN}/2.jpg",
            },
            {
                "sku": "S1",
                "store_view_code": "de",
                "attribute_set_code": "Default",
                "name": "Haferdrink",
            },
            {
                "sku": "S2",
                "attribute_set_code": "Default",
                "name": "Bar",
                "product_online": "2",
                "base_image": "/b/a/bar.jpg",
                "additional_attributes": f"upc={UPC}",
            },
            {"sku": "S3", "name": "Mug", "additional_attributes": "color=red"},
        ],
        [
            product(gtin=UPC_14, name="Bar", status="draft"),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="One liter",
                brand="Acme",
                manufacturer="Acme, Inc.",
                category="Default Category/Drinks",
                country_of_origin="DE",
                images=[f"{CDN}/2.jpg"],
            ),
        ],
        rejected=[
            "line 5: gtin: is missing: additional_attributes has none of the attributes gtin, "
            "gtin13, gtin14, ean, ean13, ean_code, upc, upc_code, barcode, bar_code, isbn"
        ],
        ignored=("attribute_set_code", "product_type"),
    ),
    "square": Case(
        "square",
        [
            {
                "Token": "T1",
                "Item Name": "Oat drink",
                "Variation Name": "Regular",
                "Description": "One liter",
                "Categories": "Drinks, Vegan",
                "GTIN": EAN,
                "Price": "1.99",
            }
        ],
        [product(gtin=EAN_14, name="Oat drink", description="One liter", category="Drinks")],
        ignored=("Token", "Variation Name", "Price"),
    ),
    "amazon": Case(
        "amazon",
        [
            {
                "item_sku": "S1",
                "external_product_id": EAN,
                "external_product_id_type": "EAN",
                "item_name": "Oat drink",
                "manufacturer": "Acme Mills",
                "product_description": "One liter",
                "brand_name": "Acme",
                "update_delete": "Update",
                "main_image_url": f"{CDN}/1.jpg",
                "other_image_url1": f"{CDN}/2.jpg",
                "other_image_url2": f"{CDN}/3.jpg",
                "quantity": "5",
            },
            {
                "item_sku": "S2",
                "external_product_id": UPC,
                "external_product_id_type": "upc",
                "item_name": "Bar",
                "update_delete": "Delete",
            },
            {
                "item_sku": "S3",
                "external_product_id": "B000000001",
                "external_product_id_type": "ASIN",
                "item_name": "Mug",
            },
        ],
        [
            product(gtin=UPC_14, name="Bar", status="discontinued"),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="One liter",
                brand="Acme",
                manufacturer="Acme Mills",
                images=[f"{CDN}/{n}.jpg" for n in (1, 2, 3)],
            ),
        ],
        rejected=[
            "line 4: gtin: is missing: external_product_id is of the type ASIN, not one of "
            "EAN, UPC, GTIN, ISBN"
        ],
        ignored=("item_sku", "quantity"),
    ),
    "akeneo": Case(
        "akeneo",
        [
            {
                "sku": "S1",
                "categories": "drinks,vegan",
                "enabled": "1",
                "family": "food",
                "groups": "",
                "brand": "acme",
                "ean": EAN,
                "name-de_DE": "Haferdrink",
                "name-en_GB": "Oat drink",
                "description-de_DE-ecommerce": "Ein Liter",
                "description-en_US-ecommerce": "",
                "image": "files/S1/image/oats.jpg",
                "picture": f"{CDN}/1.jpg",
                "weight": "500.0000",
                "weight-unit": "GRAM",
                "price-EUR": "1.99",
            },
            {"sku": "S2", "enabled": "0", "ean": UPC, "name-de_DE": "Riegel"},
        ],
        [
            product(gtin=UPC_14, name="Riegel", status="draft"),
            product(
                gtin=EAN_14,
                name="Oat drink",
                description="Ein Liter",
                brand="acme",
                category="drinks",
                net_content="500 g",
                images=[f"{CDN}/1.jpg"],
            ),
        ],
        ignored=("sku", "family", "groups", "price-EUR"),
    ),
    "usda": Case(
        "usda",
        [
            {
                "fdc_id": "1",
                "brand_owner": "Acme Foods",
                "brand_name": "ACME",
                "gtin_upc": UPC,
                "serving_size": "30.0",
                "serving_size_unit": "g",
                "branded_food_category": "Cereal",
                "package_weight": "12 oz/340 g",
                "market_country": "United States",
                "discontinued_date": "",
            },
            {"fdc_id": "2", "gtin_upc": EAN, "discontinued_date": "2024-01-31"},
        ],
        [
            product(
                gtin=UPC_14,
                brand="ACME",
                manufacturer="Acme Foods",
                category="Cereal",
                net_content="12 oz/340 g",
                nutrition={"serving_size": "30 g"},
            ),
            product(gtin=EAN_14, status="discontinued"),
        ],
        ignored=("fdc_id", "market_country"),
    ),
    "etsy with a column of GTINs": Case(
        "etsy",
        [
            {
                "TITLE": "Mug",
                "DESCRIPTION": "Blue",
                "PRICE": "5",
                "CURRENCY_CODE": "EUR",
                "TAGS": "mug",
                "MATERIALS": "",
                "IMAGE1": f"{CDN}/1.jpg",
                "IMAGE2": f"{CDN}/2.jpg",
                "GTIN": EAN,
            }
        ],
        [
            product(
                gtin=EAN_14,
                name="Mug",
                description="Blue",
                images=[f"{CDN}/1.jpg", f"{CDN}/2.jpg"],
            )
        ],
    ),
    "open food facts dump": Case(
        "openfoodfacts",
        [
            {
                "code": EAN,
                "lc": "fr",
                "product_name": "Boisson",
                "product_name_fr": "Boisson à l'avoine",
                "brands": "Acme,Other",
                "quantity": "1 l",
                "nutriments.fat_100g": "1.5",
                "nutriments.fat": "3",
                "nutriments.fat_value": "3",
                "nutriments.fat_unit": "g",
                "nutriments.energy-kcal_100g": "42",
                "nutriments.nova-group_100g": "4",
                "creator": "a name",
            }
        ],
        [
            product(
                gtin=EAN_14,
                name="Boisson à l'avoine",
                brand="Acme",
                net_content="1 l",
                nutrition={
                    "nutrients": [
                        {"name": "fat", "amount": "1.5", "unit": "g"},
                        {"name": "energy-kcal", "amount": "42", "unit": "kcal"},
                    ]
                },
            )
        ],
    ),
    "schema.org": Case(
        "schema_org",
        [
            {
                "@type": "Product",
                "gtin13": EAN,
                "gtin8": "",
                "name": "Oat drink",
                "brand.@type": "Brand",
                "brand.name": "Acme",
                "image": f"{CDN}/1.jpg",
                "image 2": f"{CDN}/2.jpg",
                "offers.url": f"{SHOP}/1",
                "offers.price": "1.99",
                "offers.priceCurrency": "EUR",
                "offers.availability": "https://schema.org/InStock",
                "offers.sku": "A",
                "offers.url 2": f"{SHOP}/2",
                "offers.price 2": "",
                "offers.priceCurrency 2": "",
                "offers.availability 2": "http://schema.org/SoldOut",
                "offers.sku 2": "B",
                "offers.url 3": f"{SHOP}/3",
                "offers.availability 3": "http://schema.org/InStock",
                "offers.sku 3": "B",
                "hasCertification.name": "Organic",
                "hasCertification.issuedBy.name": "Control",
                "hasCertification.expires": "2030-12-31",
            }
        ],
        [
            product(
                gtin=EAN_14,
                name="Oat drink",
                brand="Acme",
                images=[f"{CDN}/1.jpg", f"{CDN}/2.jpg"],
            )
        ],
        [
            # One price for three offers: it could be that of any. The third is the second again.
            {"gtin": EAN_14, "retailer": HOST, "url": f"{SHOP}/1", "status": "active", "sku": "A"},
            {
                "gtin": EAN_14,
                "retailer": HOST,
                "url": f"{SHOP}/2",
                "status": "out_of_stock",
                "sku": "B",
            },
        ],
        [
            {
                "gtin": EAN_14,
                "certification": "Organic",
                "body": "Control",
                "expiry_date": "2030-12-31",
            }
        ],
    ),
    "gs1": Case(
        "gs1",
        [
            {
                "tradeItem/gtin": EAN_14,
                "tradeItem/nextLowerLevelTradeItemInformation/childTradeItem/gtin": UPC_14,
                "tradeItem/targetMarket/targetMarketCountryCode": "276",
                "tradeItem/gdsnTradeItemClassification/gpcCategoryCode": "10000191",
                "tradeItem/tradeItemInformation/extension/m:tradeItemDescriptionModule/"
                "tradeItemDescriptionInformation/brandNameInformation/brandName": "Acme",
                "tradeItem/tradeItemInformation/extension/m:tradeItemDescriptionModule/"
                "tradeItemDescriptionInformation/tradeItemDescription": "Oat drink 1 l",
                "tradeItem/tradeItemInformation/extension/m:tradeItemMeasurementsModule/"
                "tradeItemMeasurements/netContent": "1",
                "tradeItem/tradeItemInformation/extension/m:tradeItemMeasurementsModule/"
                "tradeItemMeasurements/netContent/@measurementUnitCode": "LTR",
                "tradeItem/tradeItemInformation/extension/m:placeOfItemActivityModule/"
                "placeOfProductActivity/countryOfOrigin/countryCode": "DE",
                "tradeItem/manufacturerOfTradeItem/partyName": "Acme Mills",
                "tradeItem/referencedFileHeader/uniformResourceIdentifier": f"{CDN}/1.jpg",
            }
        ],
        [
            product(
                gtin=EAN_14,
                name="Oat drink 1 l",
                brand="Acme",
                manufacturer="Acme Mills",
                gpc_brick_code="10000191",
                net_content="1 l",
                country_of_origin="DE",
                images=[f"{CDN}/1.jpg"],
            )
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layout_creates_everything_that_its_file_has(
    organization: Organization, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    path = write(tmp_path, table(case), "file.txt")
    assert ImportFile(path).detected.layout == case.layout

    result = run(path, organization, skip_bad_rows=True, layout_options=case.options)

    assert [str(problem) for problem in result.problems] == case.rejected
    assert stored(organization) == case.products
    assert offers(organization) == case.offers
    assert certificates(organization) == case.certificates
    if case.ignored:
        assert result.ignored_columns == case.ignored
    assert_exact(organization)
    again = run(path, organization, skip_bad_rows=True, layout_options=case.options)
    assert (again.created, again.updated) == (0, 0)


def test_listings_of_etsy_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = write(
        tmp_path, "TITLE,DESCRIPTION,PRICE,CURRENCY_CODE,TAGS,MATERIALS,SKU\nMug,,5,EUR,,,1\n"
    )
    with pytest.raises(UnreadableFile) as refused:
        ImportFile(path)
    assert str(refused.value) == (
        "line 1: This is a list of Etsy listings, which has no GTINs: add a column gtin with the "
        "GTIN of each listing."
    )


@pytest.mark.parametrize(
    ("header", "program"),
    [
        ("Handle,Title,Vendor,Option1 Value,Variant Price", "Shopify"),
        ("SKU,Name,Published,Visibility in catalog,Tax status", "WooCommerce"),
        ("sku,attribute_set_code,product_type,name", "Magento"),
    ],
)
def test_export_without_gtins_says_what_to_export(
    tmp_path: Path, header: str, program: str
) -> None:
    path = write(tmp_path, f"{header}\n{','.join('x' * (header.count(',') + 1))}\n")
    with pytest.raises(UnknownLayout, match=f"{program} has no .*export"):
        ImportFile(path)


@pytest.mark.parametrize("name", sorted(set(LAYOUTS) - {"jsonl"}))
def test_layout_that_does_not_fit_a_file_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, "first,second\n1,2\n")
    with pytest.raises(UnreadableFile):
        ImportFile(path, name)


def test_layout_of_json_lines_refuses_a_table(tmp_path: Path) -> None:
    path = write(tmp_path, f"gtin,name\n{EAN},Oats\n")
    with pytest.raises(UnreadableFile, match="not JSON: choose another layout"):
        ImportFile(path, "jsonl")


def test_each_file_is_recognized_by_one_program_only() -> None:
    for case in CASES.values():
        names = [column_name(title) for title in titles(case)]
        found = {name for name, layout in LAYOUTS.items() if layout.recognizes(names)}
        # Our own come last: they take every file with a GTIN.
        assert found - {"csv", "offers", "certificates"} == {case.layout}


@pytest.mark.parametrize(
    ("columns", "layout"),
    [
        (OFFERS_HEADER, "offers"),
        (CERTIFICATES_HEADER, "certificates"),
        (("gtin", "url", "price", "currency"), "offers"),
        (("ean", "name", "retailer", "url", "price"), "offers"),
        (("gtin", "retailer", "channel", "store"), "offers"),
        (("gtin", "name", "url", "price"), "csv"),
        (("gtin", "name", "retailer", "price"), "csv"),
        (("gtin", "certification"), "certificates"),
        (("gtin", "name", "certification", "expiry_date"), "certificates"),
        (("gtin", "name", "certification"), "csv"),
        (("title", "url", "certification"), None),
    ],
)
def test_own_files_are_told_apart_by_their_columns(
    columns: tuple[str, ...], layout: str | None
) -> None:
    found = recognized(columns)
    assert (found.name if found else None) == layout


def test_exported_certificates_bring_the_name_of_a_new_certification(
    organization: Organization, tmp_path: Path
) -> None:
    run(write(tmp_path, f"gtin,name\n{EAN},Oats\n", "base.csv"), organization)
    cells = dict.fromkeys(CERTIFICATES_HEADER, "")
    cells |= {"gtin": EAN, "certification": "eco", "certification_label": "Organic"}
    path = write(tmp_path, f"{','.join(cells)}\n{','.join(cells.values())}\n")
    assert numbers(run(path, organization)) == (1, 1, 0, 0, 0)
    assert certificates(organization) == [
        {"gtin": EAN_14, "certification": "eco", "label": "Organic"}
    ]


def test_paths_of_images_do_not_clear_images(organization: Organization, tmp_path: Path) -> None:
    header = "sku;categories;enabled;family;groups;ean;image\n"
    for name, image in (("first", f"{CDN}/1.jpg"), ("second", "files/S1/oats.jpg")):
        path = write(tmp_path, f"{header}S1;;1;;;{EAN};{image}\n", f"{name}.csv")
        run(path, organization, overwrite_blank=True)
    assert stored(organization)[0]["images"] == [f"{CDN}/1.jpg"]


def test_shopify_of_many_variants_reads_each_handle_once(
    organization: Organization, tmp_path: Path
) -> None:
    rows = [f"h,{'Oats' if number == 0 else ''},{gtin}" for number, gtin in enumerate((EAN, UPC))]
    rows += [f"other,Bar,{EAN_8}", "", f",,{'4012345678901'}"]
    path = write(tmp_path, "\n".join(["Handle,Title,Variant Barcode", *rows]))
    run(path, organization)
    names = dict(Product.objects.of(organization).values_list("gtin", "name"))
    assert names == {EAN_14: "Oats", UPC_14: "Oats", EAN_8_14: "Bar", "04012345678901": "Bar"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ean=1", {"ean": "1"}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        ("a=x, y,b=2", {"a": "x, y", "b": "2"}),
        ('"a=x, y=z",b=2', {"a": "x, y=z", "b": "2"}),
        ('a="x, ""y""",b=2', {"a": 'x, "y"', "b": "2"}),
        ('a=5" wide,b=2', {"a": '5" wide', "b": "2"}),
        ("EAN=1,empty=,x=3", {"ean": "1", "empty": "", "x": "3"}),
        ("", {}),
        ("no pair", {}),
    ],
)
def test_attributes_of_magento_are_split_at_their_codes(
    text: str, expected: dict[str, str]
) -> None:
    assert attributes(text) == expected


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("in stock", "active"),
        ("in_stock", "active"),
        ("In Stock", "active"),
        ("preorder", "active"),
        ("backorder", "active"),
        ("https://schema.org/InStock", "active"),
        ("http://schema.org/LimitedAvailability/", "active"),
        ("schema:PreOrder", "active"),
        ("out of stock", "out_of_stock"),
        ("out_of_stock", "out_of_stock"),
        ("https://schema.org/SoldOut", "out_of_stock"),
        ("Discontinued", "discontinued"),
        ("seasonal", "seasonal"),
        ("perhaps", "perhaps"),
    ],
)
def test_availability_becomes_the_status_of_the_offer(text: str, status: str) -> None:
    assert availability(text) == status


def test_languages_are_tried_in_the_order_of_preference() -> None:
    names = ["name-de_de", "name-en_au", "name-en_us-print", "names", "name-unit", "name"]
    assert [names[place] for place in localized("name")(names)] == [
        "name",
        "name-en_us-print",
        "name-en_au",
        "name-de_de",
    ]
