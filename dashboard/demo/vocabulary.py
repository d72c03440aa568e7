"""The words of the demo catalog. Brands, retailers and certification bodies are fictional."""

from __future__ import annotations

import enum
import json
from typing import NamedTuple


class Package(enum.Enum):
    """What a demo product is packed in, as its picture shows."""

    BAG = "bag"
    BAR = "bar"
    BOTTLE = "bottle"
    BOX = "box"
    CAN = "can"
    WEDGE = "wedge"


class Category(NamedTuple):
    """A category of the demo catalog: its products, package, sizes and nutrition facts."""

    name: str
    package: Package
    items: tuple[str, ...]
    sizes: tuple[str, ...]
    nutrition: str


def _per_100(energy: int, fat: str, sugars: str, protein: str, salt: str) -> str:
    """Return a nutrition column as JSON: energy in kJ, the rest in grams."""
    nutrients = [{"name": "energy", "amount": str(energy), "unit": "kJ"}] + [
        {"name": name, "amount": amount, "unit": "g"}
        for name, amount in (
            ("fat", fat),
            ("sugars", sugars),
            ("protein", protein),
            ("salt", salt),
        )
    ]
    return json.dumps({"serving_size": "100 g", "nutrients": nutrients})


CATEGORIES = (
    Category(
        "Breakfast cereals",
        Package.BOX,
        ("Oat Flakes", "Crunchy Muesli", "Corn Flakes", "Granola", "Spelt Puffs"),
        ("375 g", "500 g", "750 g", "1 kg"),
        _per_100(1550, "6.9", "8.2", "12.5", "0.02"),
    ),
    Category(
        "Chocolate",
        Package.BAR,
        ("Milk Chocolate", "Dark Chocolate 70%", "Hazelnut Bar", "Cocoa Truffles"),
        ("80 g", "100 g", "200 g"),
        _per_100(2250, "33", "48", "7.1", "0.18"),
    ),
    Category(
        "Coffee",
        Package.BAG,
        ("Ground Coffee", "Espresso Beans", "Decaffeinated Coffee", "Coffee Pads"),
        ("250 g", "500 g", "1 kg"),
        _per_100(8, "0", "0", "0.1", "0"),
    ),
    Category(
        "Pasta",
        Package.BAG,
        ("Spaghetti", "Penne", "Fusilli", "Wholegrain Tagliatelle", "Lasagne Sheets"),
        ("500 g", "1 kg"),
        _per_100(1520, "1.5", "3.5", "13", "0.01"),
    ),
    Category(
        "Fruit juices",
        Package.BOTTLE,
        ("Apple Juice", "Orange Juice", "Grape Juice", "Multivitamin Juice"),
        ("330 ml", "750 ml", "1 l"),
        _per_100(195, "0.1", "10.4", "0.3", "0"),
    ),
    Category(
        "Olive oil",
        Package.BOTTLE,
        ("Extra Virgin Olive Oil", "Olive Oil", "Lemon Olive Oil"),
        ("250 ml", "500 ml", "1 l"),
        _per_100(3700, "100", "0", "0", "0"),
    ),
    Category(
        "Cheese",
        Package.WEDGE,
        ("Mature Cheddar", "Gouda Slices", "Mozzarella", "Blue Cheese", "Feta"),
        ("125 g", "200 g", "400 g"),
        _per_100(1680, "33", "0.5", "25", "1.7"),
    ),
    Category(
        "Canned fish",
        Package.CAN,
        ("Sardines in Oil", "Tuna Chunks", "Mackerel Fillets", "Herring in Tomato"),
        ("110 g", "160 g", "200 g"),
        _per_100(870, "13", "0.4", "22", "0.9"),
    ),
    Category(
        "Tea",
        Package.BOX,
        ("Black Tea", "Green Tea", "Peppermint Tea", "Rooibos", "Camomile Tea"),
        ("20 bags", "50 bags", "100 g"),
        _per_100(4, "0", "0", "0.1", "0"),
    ),
    Category(
        "Crisps",
        Package.BAG,
        ("Salted Crisps", "Paprika Crisps", "Tortilla Chips", "Vegetable Crisps"),
        ("40 g", "150 g", "200 g"),
        _per_100(2180, "31", "2.8", "6.2", "1.3"),
    ),
)

VARIETIES = ("", "Classic", "Organic", "Family", "Fine", "Rustic", "Light", "Original", "Reserve")

DESCRIPTIONS = (
    "{item} in a {size} pack, made from selected ingredients. Store in a cool, dry place.",
    "Our {item}: carefully produced in small batches, without artificial colours. {size}.",
    "{item} for every day. {size}, in recyclable packaging.",
)

BRANDS = (
    "Hof Linden",
    "Valle Chiara",
    "Nordlund & Sons",
    "Casa Olivar",
    "Mill Lane",
    "Petit Verger",
    "Seven Springs",
    "Kornblume",
    "Harbour House",
    "Monte Alba",
    "Green Gate",
    "Old Orchard",
)

# ISO 3166-1 alpha-2.
COUNTRIES = ("DE", "FR", "IT", "ES", "NL", "GB", "SE", "PL", "US", "CA")


class DemoRetailer(NamedTuple):
    """A retailer that sells the demo's products."""

    name: str
    host: str
    currency: str


# Host names that resolve nowhere (RFC 2606, section 3).
RETAILERS = (
    DemoRetailer("Basket & Co", "basket.example.com", "EUR"),
    DemoRetailer("FreshDirectly", "fresh.example.org", "EUR"),
    DemoRetailer("Corner Market", "corner.example.net", "GBP"),
    DemoRetailer("Pantry Online", "pantry.example.com", "USD"),
    DemoRetailer("Kaufladen", "kaufladen.example.org", "EUR"),
    DemoRetailer("Epicerie du Port", "epicerie.example.net", "EUR"),
)

STORES = ("Station Road", "Market Square", "Riverside", "Old Town", "North Gate", "Harbour")


class DemoCertification(NamedTuple):
    """A certification of the demo organization."""

    code: str
    label: str
    body: str


CERTIFICATIONS = (
    DemoCertification("organic", "Organic", "Organic Farming Board"),
    DemoCertification("fair-trade", "Fair trade", "Fair Trade Council"),
    DemoCertification("vegan", "Vegan", "Plant Food Society"),
    DemoCertification("gluten-free", "Gluten free", "Coeliac Association"),
    DemoCertification("kosher", "Kosher", "Kosher Supervision Office"),
    DemoCertification("halal", "Halal", "Halal Quality Institute"),
    DemoCertification("sustainable-fishery", "Sustainable fishery", "Ocean Stewardship Office"),
)
