// orval: functions made from the document; each answer passes the zod schema that it makes too.
import * as api from "./generated/orval/client";
import * as schemas from "./generated/orval/schemas";
import { equal, organization_id as organization, picture } from "./world";

const gtin = "00036000291452";

// The body of an answer with this status, as the schema of the operation reads it.
function ok<T>(
  answer: { status: number; data: unknown },
  status: number,
  schema: { parse(value: unknown): T },
): T {
  if (answer.status !== status) throw new Error(`${answer.status}: ${JSON.stringify(answer.data)}`);
  return schema.parse(answer.data);
}

const whoami = ok(await api.whoami(), 200, schemas.WhoamiResponse);
equal(whoami.organizations[0]?.id, organization, "the organization of the key");

ok(
  await api.createTradeItem(organization, {
    gtin,
    name: "Oat drink",
    gpc_brick_code: "",
    nutrition: { nutrients: [{ name: "fat", amount: 1.5, unit: "g" }] },
    metadata: { season: "summer", shelf: "3" },
  }),
  201,
  schemas.CreateTradeItemResponse,
);
const changed = ok(
  await api.updateTradeItem(organization, gtin, {
    gpc_brick_code: "10000025",
    metadata: { shelf: null },
  }),
  200,
  schemas.UpdateTradeItemResponse,
);
equal(changed.metadata, { season: "summer" }, "metadata after the change");
ok(await api.getTradeItem(organization, gtin), 200, schemas.GetTradeItemResponse);
const lacking = ok(
  await api.listTradeItems(organization, { missing: ["images", "offers"] }),
  200,
  schemas.ListTradeItemsResponse,
);
equal(lacking.pagination.total_count, 1, "products that lack images and offers");

const image = ok(
  await api.createTradeItemImage(organization, gtin, { image: picture(), is_primary: true }),
  201,
  schemas.CreateTradeItemImageResponse,
);
ok(
  await api.updateTradeItemImage(organization, gtin, image.id, { title: "Back" }),
  200,
  schemas.UpdateTradeItemImageResponse,
);

const offer = ok(
  await api.createOffer(organization, { gtin, url: "https://shop.example.com/3", price: "1.99", currency: "EUR" }),
  201,
  schemas.CreateOfferResponse,
);
const cleared = ok(
  await api.updateOffer(organization, offer.id, { price: null, currency: "" }),
  200,
  schemas.UpdateOfferResponse,
);
equal([cleared.price, cleared.currency], [null, ""], "no price");
ok(
  await api.listOffers(organization, { url_status: ["unchecked", "failing"] }),
  200,
  schemas.ListOffersResponse,
);

const certificate = ok(
  await api.createCertificationAssignment(organization, { gtin, certification: "eu-organic" }),
  201,
  schemas.CreateCertificationAssignmentResponse,
);
ok(
  await api.updateCertificationAssignment(organization, certificate.id, {
    certification: { code: "eu-organic", body: "European Union" },
  }),
  200,
  schemas.UpdateCertificationAssignmentResponse,
);

const made = ok(
  await api.createApiKey(organization, { name: "orval", role: "editor" }),
  201,
  schemas.CreateApiKeyResponse,
);
ok(
  await api.updateApiKey(organization, made.id, { name: "Renamed" }),
  200,
  schemas.UpdateApiKeyResponse,
);

const stats = ok(
  await api.getDashboardStatistics(organization, { expiring_within: 30 }),
  200,
  schemas.GetDashboardStatisticsResponse,
);
equal([stats.total_products, stats.missing_images], [1, 0], "the numbers");

const wrong = await api.createOffer(organization, { gtin: "4006381333932" });
if (wrong.status !== 422) throw new Error(`a wrong check digit: ${wrong.status}`);
equal(wrong.data.errors?.[0]?.code, "gtin_check_digit", "its code");

ok(await api.deleteApiKey(organization, made.id), 204, schemas.DeleteApiKeyResponse);
ok(
  await api.deleteCertificationAssignment(organization, certificate.id),
  204,
  schemas.DeleteCertificationAssignmentResponse,
);
ok(await api.deleteOffer(organization, offer.id), 204, schemas.DeleteOfferResponse);
ok(
  await api.deleteTradeItemImage(organization, gtin, image.id),
  204,
  schemas.DeleteTradeItemImageResponse,
);
ok(await api.deleteTradeItem(organization, gtin), 204, schemas.DeleteTradeItemResponse);
const gone = await api.getTradeItem(organization, gtin);
if (gone.status !== 404) throw new Error(`a deleted product: ${gone.status}`);
equal(gone.data.type, "/docs/errors/not_found", "its type");
