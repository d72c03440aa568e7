"""The columns of our own CSV and the keys of our own JSON, which exports write and imports read."""

# In the order in which they are named to people. A column called gtin wins over the others.
GTIN_COLUMNS = ("gtin", "code", "barcode", "upc", "ean")
# In a table the addresses of all images, in JSON the first one beside the list of all.
IMAGE_URL = "image_url"
IMAGE_URLS = "image_urls"
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
