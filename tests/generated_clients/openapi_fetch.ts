// openapi-typescript 7 with openapi-fetch: the types are the document, the requests are fetch.
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/openapi_typescript";
import { equal, key, organization_id, picture, present, url } from "./world";

type Problem = components["schemas"]["Problem"];

const client = createClient<paths>({ baseUrl: url, headers: { "X-API-Key": key } });
const gtin = "04006381333931";
const path = { organization_id };

type Answer<T> = { data?: T; error?: Problem; response: Response };

function ok<T>({ data, error, response }: Answer<T>, status: number, what: string): T {
  if (error) throw new Error(`${what}: ${response.status} ${JSON.stringify(error)}`);
  equal(response.status, status, what);
  return data as T;
}

const whoami = ok(await client.GET("/account/api/v1/whoami"), 200, "whoami");
equal(whoami.organizations[0]?.id, organization_id, "the organization of the key");
equal(whoami.user, null, "the user of an organization's key");

const product = ok(
  await client.POST("/dashboard/api/v1/trade-items/{organization_id}", {
    params: { path, header: { "Idempotency-Key": crypto.randomUUID() } },
    body: {
      gtin,
      name: "Oat drink",
      gpc_brick_code: "",
      nutrition: { serving_size: "100 ml", nutrients: [{ name: "fat", amount: 1.5, unit: "g" }] },
      metadata: { season: "summer", shelf: "3" },
    },
  }),
  201,
  "create a product",
);
equal(product.nutrition.nutrients[0]?.amount, "1.5", "the amount");

const item = { path: { organization_id, gtin } };
const changed = ok(
  await client.PATCH("/dashboard/api/v1/trade-items/{organization_id}/{gtin}", {
    params: item,
    body: { gpc_brick_code: "10000025", metadata: { shelf: null } },
  }),
  200,
  "change the product",
);
equal([changed.gpc_brick_code, changed.metadata], ["10000025", { season: "summer" }], "changes");

const lacking = ok(
  await client.GET("/dashboard/api/v1/trade-items/{organization_id}", {
    params: { path, query: { missing: ["images", "offers"], complete: false, page_size: 100 } },
    // The document says explode: false, which this client has to be told.
    querySerializer: { array: { style: "form", explode: false } },
  }),
  200,
  "list products",
);
equal(lacking.data.map((row) => row.gtin), [gtin], "products that lack images and offers");

const image = ok(
  await client.POST("/dashboard/api/v1/trade-items/{organization_id}/{gtin}/images", {
    params: item,
    // A file is a string to the types; the serializer sends the form.
    body: { image: "", title: "Front" },
    bodySerializer: ({ title }) => {
      const form = new FormData();
      form.set("image", picture());
      form.set("title", title ?? "");
      return form;
    },
  }),
  201,
  "upload an image",
);
equal([image.title, image.is_primary, image.width], ["Front", true, 1], "the image");
equal((await fetch(image.image_url)).status, 200, "the file of the image");

const of_image = { path: { organization_id, gtin, image_id: image.id } };
ok(
  await client.PATCH("/dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/{image_id}", {
    params: of_image,
    body: { title: "Back" },
  }),
  200,
  "change the image",
);
ok(
  await client.PUT("/dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/order", {
    params: item,
    body: { ids: [image.id] },
  }),
  200,
  "order the images",
);

const offer = ok(
  await client.POST("/dashboard/api/v1/offers/{organization_id}", {
    params: { path },
    body: { gtin, retailer: "Market", url: "https://shop.example.com/1", price: "1.99", currency: "EUR" },
  }),
  201,
  "create an offer",
);
const of_offer = { path: { organization_id, offer_id: offer.id } };
const sold_out = ok(
  await client.PATCH("/dashboard/api/v1/offers/{organization_id}/{offer_id}", {
    params: of_offer,
    body: { status: "out_of_stock", price: null, currency: "" },
  }),
  200,
  "change the offer",
);
equal([sold_out.price, sold_out.currency, sold_out.url_status], [null, "", "unchecked"], "changes");
const unchecked = ok(
  await client.GET("/dashboard/api/v1/offers/{organization_id}", {
    params: { path, query: { url_status: ["unchecked", "failing"] } },
  }),
  200,
  "list offers",
);
equal(unchecked.pagination.total_count, 1, "unchecked offers");

const certificate = ok(
  await client.POST("/dashboard/api/v1/certifications/{organization_id}", {
    params: { path },
    body: { gtin, certification: "eu-organic", expiry_date: "2099-12-31" },
  }),
  201,
  "assign a certification",
);
const of_certificate = { path: { organization_id, assignment_id: certificate.id } };
ok(
  await client.PATCH("/dashboard/api/v1/certifications/{organization_id}/{assignment_id}", {
    params: of_certificate,
    body: { certification: { code: "eu-organic", label: "EU Organic" }, valid_from: null },
  }),
  200,
  "change the assignment",
);

const made = ok(
  await client.POST("/account/api/v1/organizations/{organization_id}/api-keys", {
    params: { path },
    body: { name: "openapi-fetch", role: "readonly", expires_at: "2099-12-31T23:59:59Z" },
  }),
  201,
  "create a key",
);
const of_key = { path: { organization_id, key_id: made.id } };
ok(
  await client.PATCH("/account/api/v1/organizations/{organization_id}/api-keys/{key_id}", {
    params: of_key,
    body: { is_active: false },
  }),
  200,
  "revoke the key",
);
const revoked = await client.GET("/account/api/v1/whoami", { headers: { "X-API-Key": made.key } });
equal(revoked.error?.error_code, "unauthorized", "a revoked key");

const stats = ok(
  await client.GET("/dashboard/api/v1/stats/{organization_id}", {
    params: { path, query: { expiring_within: 30, complete_at: 50 } },
  }),
  200,
  "stats",
);
equal([stats.total_products, stats.missing_images], [1, 0], "the numbers");

const wrong = await client.POST("/dashboard/api/v1/offers/{organization_id}", {
  params: { path },
  body: { gtin: "4006381333932" },
});
equal(wrong.response.status, 422, "a wrong check digit");
equal(present(wrong.error?.errors, "errors")[0]?.code, "gtin_check_digit", "its code");

for (const [what, answer] of [
  ["key", await client.DELETE("/account/api/v1/organizations/{organization_id}/api-keys/{key_id}", { params: of_key })],
  ["assignment", await client.DELETE("/dashboard/api/v1/certifications/{organization_id}/{assignment_id}", { params: of_certificate })],
  ["offer", await client.DELETE("/dashboard/api/v1/offers/{organization_id}/{offer_id}", { params: of_offer })],
  ["image", await client.DELETE("/dashboard/api/v1/trade-items/{organization_id}/{gtin}/images/{image_id}", { params: of_image })],
  ["product", await client.DELETE("/dashboard/api/v1/trade-items/{organization_id}/{gtin}", { params: item })],
] as const) {
  ok<unknown>(answer as Answer<unknown>, 204, `delete the ${what}`);
}

const gone = await client.GET("/dashboard/api/v1/trade-items/{organization_id}/{gtin}", { params: item });
const problem: Problem = present(gone.error, "the problem");
equal(problem.type, "/docs/errors/not_found", "its type");
equal((await fetch(new URL(problem.type, url))).status, 200, "the page of its type");

// Compiled, never run: what the document does not have must not compile.
export async function mistakes(): Promise<void> {
  // @ts-expect-error a role that does not exist
  const role: components["schemas"]["NewApiKeyRequest"]["role"] = "emperor";
  // @ts-expect-error a path that does not exist
  await client.GET("/dashboard/api/v1/statistics/{organization_id}", {});
  // @ts-expect-error the organization is left out
  await client.GET("/dashboard/api/v1/stats/{organization_id}", { params: { path: {} } });
  void role;
}
