"""openapi-generator, its Python client: every answer passes a pydantic model."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from uuid import uuid4

import dashboard_client as api
from dashboard_client.exceptions import NotFoundException, UnprocessableEntityException
from world import KEY, ORGANIZATION, PNG, URL

GTIN = "05901234123457"
client = api.ApiClient(api.Configuration(host=URL, api_key={"ApiKey": KEY}))
# Bodies that may be left out go by name: optional headers come before them.
account = api.AccountApi(client)
certifications = api.CertificationsApi(client)
dashboard = api.DashboardApi(client)
images = api.ImagesApi(client)
items = api.TradeItemsApi(client)
offers = api.OffersApi(client)


def refused(kind: type[api.ApiException], request: Callable[[], object]) -> api.Problem:
    """Return the problem with which a request is refused."""
    try:
        request()
    except kind as error:
        return error.data
    raise AssertionError(f"{kind.__name__} was expected.")


me = account.whoami()
assert [one.id for one in me.organizations] == [ORGANIZATION]
assert me.user is None
assert me.key.kind == "csb"

product = items.create_trade_item(
    ORGANIZATION,
    api.ProductRequest(
        gtin=GTIN,
        name="Oat drink",
        gpc_brick_code="",
        nutrition=api.NutritionRequest(
            nutrients=[
                api.NutrientRequest(name="fat", amount=api.NutrientRequestAmount(1.5), unit="g"),
                api.NutrientRequest(
                    name="salt", amount=api.NutrientRequestAmount("0.10"), unit="g"
                ),
            ]
        ),
        metadata={"season": "summer", "shelf": "3"},
    ),
    idempotency_key=str(uuid4()),
)
assert [nutrient.amount for nutrient in product.nutrition.nutrients] == ["1.5", "0.1"]
assert product.gpc_brick_code == ""
change = api.PatchedProductRequest(gpc_brick_code="10000025", metadata={"shelf": None})
changed = items.update_trade_item(ORGANIZATION, GTIN, patched_product_request=change)
assert changed.metadata == {"season": "summer"}
assert items.get_trade_item(ORGANIZATION, GTIN).gpc_brick_code == "10000025"
assert items.get_trade_item_completeness(ORGANIZATION, GTIN).fields.name.score == 1
page = items.list_trade_items(ORGANIZATION, missing=["images", "offers"], complete=False)
assert [row.gtin for row in page.data] == [GTIN]

image = images.create_trade_item_image(
    ORGANIZATION, GTIN, ("front.png", PNG), title="Front", is_primary=True
)
assert (image.title, image.is_primary, image.width) == ("Front", True, 1)
back = api.PatchedImageChangeRequest(title="Back")
images.update_trade_item_image(ORGANIZATION, GTIN, image.id, patched_image_change_request=back)
images.order_trade_item_images(ORGANIZATION, GTIN, api.ImageOrderRequest(ids=[image.id]))
assert images.list_trade_item_images(ORGANIZATION, GTIN).data[0].title == "Back"

offer = offers.create_offer(
    ORGANIZATION,
    api.OfferRequest(
        # A port to which no check goes.
        gtin=GTIN,
        url="https://shop.example.com:444/5",
        price="1.99",
        currency="EUR",
    ),
)
assert (offer.price, offer.currency) == ("1.99", api.CurrencyEnum.EUR)
no_price = api.PatchedOfferRequest(price=None, currency="")
cleared = offers.update_offer(ORGANIZATION, offer.id, patched_offer_request=no_price)
assert (cleared.price, cleared.currency.value) == (None, "")
store = offers.create_offer(ORGANIZATION, api.OfferRequest(gtin=GTIN, channel="in_store"))
assert store.url_status is None
unchecked = offers.list_offers(ORGANIZATION, url_status=["unchecked", "failing"])
assert unchecked.pagination.total_count == 1
offers.check_offer(ORGANIZATION, offer.id)
offers.list_broken_offers_by_retailer(ORGANIZATION)

assignment = certifications.create_certification_assignment(
    ORGANIZATION,
    api.CertificationAssignmentRequest(
        gtin=GTIN,
        certification=api.CertificationOrCode("eu-organic"),
        expiry_date=datetime.date(2099, 12, 31),
    ),
)
assert assignment.expiry_date == datetime.date(2099, 12, 31)
certification = api.CertificationRequest(code="eu-organic", label="EU Organic")
certifications.update_certification_assignment(
    ORGANIZATION,
    assignment.id,
    patched_certification_assignment_request=api.PatchedCertificationAssignmentRequest(
        certification=api.CertificationOrCode(certification)
    ),
)
assert certifications.list_certification_assignments(ORGANIZATION).pagination.total_count == 1

end = datetime.datetime(2099, 12, 31, tzinfo=datetime.UTC)
key = account.create_api_key(
    ORGANIZATION, api.NewApiKeyRequest(name="Python", role="editor", expires_at=end)
)
assert key.expires_at == end
rotation = api.RotationRequest(expires_at=None)
other = account.rotate_api_key(ORGANIZATION, key.id, rotation_request=rotation)
revoked = account.update_api_key(
    ORGANIZATION, key.id, patched_api_key_request=api.PatchedApiKeyRequest(is_active=False)
)
assert revoked.is_active is False
assert account.list_api_keys(ORGANIZATION).pagination.total_count >= 3

stats = dashboard.get_dashboard_statistics(ORGANIZATION, expiring_within=30, complete_at=50)
assert (stats.total_products, stats.missing_images) == (1, 0)
dashboard.get_forecast(ORGANIZATION, days=30)
dashboard.get_history(ORGANIZATION)
dashboard.get_opportunities(ORGANIZATION)
dashboard.get_breakdown(ORGANIZATION)
rule = dashboard.get_completeness_rule(ORGANIZATION)
weights = api.WeightsRequest.from_dict(rule.weights.to_dict())
dashboard.set_completeness_rule(ORGANIZATION, api.RuleRequest(weights=weights, threshold=70))
dashboard.reset_completeness_rule(ORGANIZATION)

wrong = refused(
    UnprocessableEntityException,
    lambda: offers.create_offer(ORGANIZATION, api.OfferRequest(gtin="4006381333932")),
)
assert [one.code for one in wrong.errors] == ["gtin_check_digit"]

for one in (key.id, other.id):
    account.delete_api_key(ORGANIZATION, one)
certifications.delete_certification_assignment(ORGANIZATION, assignment.id)
offers.delete_offer(ORGANIZATION, offer.id)
images.delete_trade_item_image(ORGANIZATION, GTIN, image.id)
items.delete_trade_item(ORGANIZATION, GTIN)
gone = refused(NotFoundException, lambda: items.get_trade_item(ORGANIZATION, GTIN))
assert (gone.type, gone.error_code) == ("/docs/errors/not_found", "not_found")
