"""Batches of offers."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.editing import with_product_ids
from closient.http.batches import Upsert, Values
from closient.text.validators import InvalidField
from offers.editing import assign_to_offer, new_offer
from offers.models import Offer


class OfferUpsert(Upsert[Offer]):
    """Offers by product, channel, retailer, store and SKU."""

    model = Offer
    key = ("product_id", "channel", "retailer", "store", "sku")
    key_words = "GTIN, channel, retailer, store and SKU"
    columns = ("url", "price", "currency", "status", "metadata")

    def resolve(self, values: Sequence[Values]) -> Sequence[Values | InvalidField]:
        """Replace the GTINs by the keys of the products."""
        return with_product_ids(self.organization_id, values)

    def new(self, values: Values) -> Offer:
        """Return an offer that is not saved yet. Raises ``InvalidField``."""
        return new_offer(self.organization_id, values)

    def assign(self, row: Offer, values: Values) -> Sequence[str]:
        """Set columns of an offer; return those that differ. Raises ``InvalidField``."""
        return assign_to_offer(row, values)
