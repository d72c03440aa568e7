"""openapi-python-client: every answer is parsed into attrs classes by `from_dict`."""

from __future__ import annotations

import datetime
from io import BytesIO
from typing import Any

from python_client import AuthenticatedClient, models
from python_client.api.account import (
    create_api_key,
    delete_api_key,
    list_api_keys,
    rotate_api_key,
    update_api_key,
    whoami,
)
from python_client.api.certifications import (
    create_certification_assignment,
    delete_certification_assignment,
    list_certification_assignments,
    update_certification_assignment,
)
from python_client.api.dashboard import (
    get_breakdown,
    get_completeness_rule,
    get_dashboard_statistics,
    get_forecast,
    get_history,
    get_opportunities,
    reset_completeness_rule,
    set_completeness_rule,
)
from python_client.api.images import (
    create_trade_item_image,
    delete_trade_item_image,
    list_trade_item_images,
    order_trade_item_images,
    update_trade_item_image,
)
from python_client.api.offers import (
    check_offer,
    create_offer,
    delete_offer,
    list_offers,
    update_offer,
)
from python_client.api.trade_items import (
    create_trade_item,
    delete_trade_item,
    get_trade_item,
    get_trade_item_completeness,
    list_trade_items,
    update_trade_item,
)
from python_client.types import File
from world import KEY, ORGANIZATION, PNG, URL

GTIN = "00000096385074"
client = AuthenticatedClient(
    base_url=URL,
    token=KEY,
    prefix="",
    auth_header_name="X-API-Key",
    raise_on_unexpected_status=True,
)


def ask(operation: Any, *path: str, status: int = 200, **kwargs: Any) -> Any:
    """Send a request and return the parsed body of its answer, which has to have this status."""
    answer = operation.sync_detailed(*path, client=client, **kwargs)
    assert answer.status_code == status, (operation.__name__, answer)
    if status == 204:
        assert answer.content == b""
        return None
    assert answer.parsed is not None, operation.__name__
    # Nothing came that the document does not name.
    extra = getattr(answer.parsed, "additional_properties", {})
    assert not extra, (operation.__name__, extra)
    return answer.parsed


me = ask(whoami)
assert [one.id for one in me.organizations] == [ORGANIZATION]
assert me.user is None

product = ask(
    create_trade_item,
    ORGANIZATION,
    status=201,
    idempotency_key="openapi-python-client",
    body=models.ProductRequest(
        gtin="96385074",
        name="Oat drink",
        gpc_brick_code="",
        nutrition=models.NutritionRequest(
            nutrients=[
                models.NutrientRequest(name="fat", amount=1.5, unit="g"),
                models.NutrientRequest(name="salt", amount="0.10", unit="g"),
            ]
        ),
        metadata=models.ProductRequestMetadata.from_dict({"season": "summer", "shelf": "3"}),
    ),
)
assert product.gtin == GTIN
assert [nutrient.amount for nutrient in product.nutrition.nutrients] == ["1.5", "0.1"]
assert isinstance(product.created_at, datetime.datetime)
change = models.PatchedProductRequest(
    gpc_brick_code="10000025",
    metadata=models.PatchedProductRequestMetadataType0.from_dict({"shelf": None}),
)
changed = ask(update_trade_item, ORGANIZATION, GTIN, body=change)
assert changed.metadata.to_dict() == {"season": "summer"}
assert ask(get_trade_item, ORGANIZATION, GTIN).gpc_brick_code == "10000025"
assert ask(get_trade_item_completeness, ORGANIZATION, GTIN).fields.name.score == 1
# Sent as missing=images&missing=offers: this client does not know explode: false.
lacking = [models.ListTradeItemsMissingItem.IMAGES, models.ListTradeItemsMissingItem.OFFERS]
page = ask(list_trade_items, ORGANIZATION, missing=lacking, complete=False, page_size=100)
assert [row.gtin for row in page.data] == [GTIN]

picture = File(payload=BytesIO(PNG), file_name="front.png", mime_type="image/png")
image = ask(
    create_trade_item_image,
    ORGANIZATION,
    GTIN,
    status=201,
    body=models.NewImageRequest(image=picture, title="Front", is_primary=True),
)
assert (image.title, image.is_primary, image.width) == ("Front", True, 1)
back = models.PatchedImageChangeRequest(title="Back")
ask(update_trade_item_image, ORGANIZATION, GTIN, image.id, body=back)
order = models.ImageOrderRequest(ids=[image.id])
assert len(ask(order_trade_item_images, ORGANIZATION, GTIN, body=order).data) == 1
assert ask(list_trade_item_images, ORGANIZATION, GTIN).data[0].title == "Back"

new_offer = models.OfferRequest(
    gtin=GTIN,
    # A port to which no check goes.
    url="https://shop.example.com:444/4",
    price="1.99",
    currency=models.CurrencyEnum.EUR,
)
offer = ask(create_offer, ORGANIZATION, status=201, body=new_offer)
no_price = models.PatchedOfferRequest(price=None, currency=models.CurrencyEnum.VALUE_0)
assert ask(update_offer, ORGANIZATION, offer.id, body=no_price).price is None
in_store = models.OfferRequest(gtin=GTIN, channel=models.ChannelEnum.IN_STORE)
assert ask(create_offer, ORGANIZATION, status=201, body=in_store).url_status is None
statuses = [models.ListOffersUrlStatusItem.UNCHECKED, models.ListOffersUrlStatusItem.FAILING]
assert ask(list_offers, ORGANIZATION, url_status=statuses).pagination.total_count == 1
assert ask(check_offer, ORGANIZATION, offer.id).id == offer.id

assignment = ask(
    create_certification_assignment,
    ORGANIZATION,
    status=201,
    body=models.CertificationAssignmentRequest(
        gtin=GTIN, certification="eu-organic", expiry_date=datetime.date(2099, 12, 31)
    ),
)
assert assignment.expiry_date == datetime.date(2099, 12, 31)
certification = models.CertificationRequest(code="eu-organic", label="EU Organic")
relabeled = models.PatchedCertificationAssignmentRequest(certification=certification)
ask(update_certification_assignment, ORGANIZATION, assignment.id, body=relabeled)
assert ask(list_certification_assignments, ORGANIZATION, expired=False).pagination.total_count == 1

end = datetime.datetime(2099, 12, 31, tzinfo=datetime.UTC)
new_key = models.NewApiKeyRequest(name="Python", role=models.RoleEnum.EDITOR, expires_at=end)
key = ask(create_api_key, ORGANIZATION, status=201, body=new_key)
assert key.expires_at == end
other = ask(
    rotate_api_key, ORGANIZATION, key.id, status=201, body=models.RotationRequest(expires_at=None)
)
revoked = ask(
    update_api_key, ORGANIZATION, key.id, body=models.PatchedApiKeyRequest(is_active=False)
)
assert revoked.is_active is False
assert ask(list_api_keys, ORGANIZATION).pagination.total_count >= 3

stats = ask(get_dashboard_statistics, ORGANIZATION, expiring_within=30, complete_at=50)
assert (stats.total_products, stats.missing_images) == (1, 0)
ask(get_forecast, ORGANIZATION, days=30)
ask(get_history, ORGANIZATION)
ask(get_opportunities, ORGANIZATION)
ask(get_breakdown, ORGANIZATION)
rule = ask(get_completeness_rule, ORGANIZATION)
weights = models.WeightsRequest.from_dict(rule.weights.to_dict())
ask(set_completeness_rule, ORGANIZATION, body=models.RuleRequest(weights=weights, threshold=70))
ask(reset_completeness_rule, ORGANIZATION, status=204)

wrong = ask(create_offer, ORGANIZATION, status=422, body=models.OfferRequest(gtin="4006381333932"))
assert [error.code for error in wrong.errors] == ["gtin_check_digit"]

for one in (key.id, other.id):
    ask(delete_api_key, ORGANIZATION, one, status=204)
ask(delete_certification_assignment, ORGANIZATION, assignment.id, status=204)
ask(delete_offer, ORGANIZATION, offer.id, status=204)
ask(delete_trade_item_image, ORGANIZATION, GTIN, image.id, status=204)
ask(delete_trade_item, ORGANIZATION, GTIN, status=204)
gone = ask(get_trade_item, ORGANIZATION, GTIN, status=404)
assert (gone.type_, gone.error_code) == ("/docs/errors/not_found", models.ErrorCodeEnum.NOT_FOUND)
