"""The columns of our own CSV, which exports write and imports read."""

# In the order in which they are named to people. A column called gtin wins over the others.
GTIN_COLUMNS = ("gtin", "code", "barcode", "upc", "ean")
IMAGE_URL = "image_url"
TEXT_COLUMNS = (
    "name",
    "description",
    "brand",
    "manufacturer",
    "category",
    "gpc_brick_code",
    "country_of_origin",
    "net_content",
    "status",
    IMAGE_URL,
    "serving_size",
)
# All nutrients, and all metadata, of a product as JSON.
NUTRIENTS = "nutrients"
METADATA = "metadata"
# Columns of exports that imports ignore.
EXPORT_ONLY = ("percentage", "images", "active_offers", "updated_at")
