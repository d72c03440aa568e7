// @hey-api/openapi-ts: functions made from the document; each answer passes a zod schema.
import { client } from "./generated/hey_api/client.gen";
import * as api from "./generated/hey_api";
import { equal, key, organization_id, picture, present, url } from "./world";

client.setConfig({ baseUrl: url, auth: ({ name }) => (name === "X-API-Key" ? key : undefined) });
const gtin = "04012345678901";
const path = { organization_id };
const item = { organization_id, gtin };
const throwOnError = true;

const whoami = await api.whoami({ throwOnError });
equal(whoami.data.organizations[0]?.id, organization_id, "the organization of the key");

const product = await api.createTradeItem({
  path,
  headers: { "Idempotency-Key": crypto.randomUUID() },
  body: {
    gtin,
    name: "Oat drink",
    gpc_brick_code: "",
    nutrition: { nutrients: [{ name: "fat", amount: "1.5", unit: "g" }] },
    metadata: { season: "summer", shelf: "3" },
  },
  throwOnError,
});
equal(product.response.status, 201, "create a product");
const changed = await api.updateTradeItem({
  path: item,
  body: { gpc_brick_code: "10000025", metadata: { shelf: null } },
  throwOnError,
});
equal(changed.data.metadata, { season: "summer" }, "metadata after the change");
equal((await api.getTradeItem({ path: item, throwOnError })).data.gtin, gtin, "the product");
await api.getTradeItemCompleteness({ path: item, throwOnError });
const lacking = await api.listTradeItems({
  path,
  query: { missing: ["images", "offers"], ordering: "name" },
  throwOnError,
});
equal(lacking.data.pagination.total_count, 1, "products that lack images and offers");

const image = await api.createTradeItemImage({
  path: item,
  body: { image: picture(), title: "Front", is_primary: true },
  throwOnError,
});
equal([image.data.title, image.data.width], ["Front", 1], "the image");
const of_image = { ...item, image_id: image.data.id };
await api.updateTradeItemImage({ path: of_image, body: { title: "Back" }, throwOnError });
await api.orderTradeItemImages({ path: item, body: { ids: [image.data.id] }, throwOnError });
const images = await api.listTradeItemImages({ path: item, throwOnError });
equal(images.data.data[0]?.title, "Back", "the title of the image");

const offer = await api.createOffer({
  path,
  body: { gtin, url: "https://shop.example.com/2", price: "1.99", currency: "EUR" },
  throwOnError,
});
const of_offer = { organization_id, offer_id: offer.data.id };
const cleared = await api.updateOffer({
  path: of_offer,
  body: { price: null, currency: "" },
  throwOnError,
});
equal([cleared.data.price, cleared.data.currency], [null, ""], "no price");
const store = await api.createOffer({ path, body: { gtin, channel: "in_store" }, throwOnError });
equal(store.data.url_status, null, "the URL status of an offer in a store");
const offers = await api.listOffers({ path, query: { url_status: ["unchecked"] }, throwOnError });
equal(offers.data.pagination.total_count, 1, "unchecked offers");
await api.listBrokenOffersByRetailer({ path, throwOnError });

const certificate = await api.createCertificationAssignment({
  path,
  body: { gtin, certification: { code: "fair" }, valid_from: "2020-01-01", expiry_date: null },
  throwOnError,
});
const of_certificate = { organization_id, assignment_id: certificate.data.id };
await api.updateCertificationAssignment({
  path: of_certificate,
  body: { certification: "eu-organic", metadata: { audit: "2026" } },
  throwOnError,
});
await api.listCertificationAssignments({ path, query: { expired: false }, throwOnError });

const made = await api.createApiKey({ path, body: { name: "hey-api" }, throwOnError });
const of_key = { organization_id, key_id: made.data.id };
const rotated = await api.rotateApiKey({ path: of_key, body: { expires_at: null }, throwOnError });
await api.updateApiKey({ path: of_key, body: { is_active: false }, throwOnError });
await api.listApiKeys({ path, throwOnError });

const stats = await api.getDashboardStatistics({ path, query: { complete_at: 50 }, throwOnError });
equal([stats.data.total_products, stats.data.missing_images], [1, 0], "the numbers");
await api.getForecast({ path, query: { days: 30 }, throwOnError });
await api.getHistory({ path, throwOnError });
await api.getOpportunities({ path, throwOnError });
const rule = await api.getCompletenessRule({ path, throwOnError });
const { weights } = rule.data;
await api.setCompletenessRule({ path, body: { weights, threshold: 70 }, throwOnError });
equal((await api.resetCompletenessRule({ path, throwOnError })).response.status, 204, "the rule");

const wrong = await api.createOffer({ path, body: { gtin: "4006381333932" } });
equal(present(wrong.error, "the problem").error_code, "validation_error", "a wrong check digit");

const deleted = [
  await api.deleteApiKey({ path: of_key, throwOnError }),
  await api.deleteApiKey({ path: { organization_id, key_id: rotated.data.id }, throwOnError }),
  await api.deleteCertificationAssignment({ path: of_certificate, throwOnError }),
  await api.deleteOffer({ path: of_offer, throwOnError }),
  await api.deleteTradeItemImage({ path: of_image, throwOnError }),
  await api.deleteTradeItem({ path: item, throwOnError }),
];
equal(deleted.map(({ response }) => response.status), Array(6).fill(204), "deletions");
const gone = await api.getTradeItem({ path: item });
equal(present(gone.error, "the problem").type, "/docs/errors/not_found", "its type");
