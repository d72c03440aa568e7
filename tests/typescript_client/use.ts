// What an integrator would write against the client generated from the OpenAPI document. It is
// compiled, never run: each line that would not compile is a promise that the document breaks.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Stats = components["schemas"]["Stats"];
type Product = components["schemas"]["Product"];
type Problem = components["schemas"]["Problem"];

const client = createClient<paths>({
  baseUrl: "https://dashboard.example.com",
  headers: { "X-API-Key": "csb_..." },
});

function explain(problem: Problem): string {
  const wrong = (problem.errors ?? []).map((error) => `${error.pointer}: ${error.detail}`);
  return [problem.detail, ...wrong].join("\n");
}

export async function missingImages(organization_id: string): Promise<number> {
  const { data, error } = await client.GET("/dashboard/api/v1/stats/{organization_id}", {
    params: { path: { organization_id }, query: { expiring_within: 30, as_of: "2027-01-31" } },
  });
  if (error) throw new Error(explain(error));
  const stats: Stats = data;
  return stats.missing_images;
}

export async function hints(organization_id: string, gtin: string): Promise<string[]> {
  const { data, error } = await client.GET(
    "/dashboard/api/v1/trade-items/{organization_id}/{gtin}/completeness",
    { params: { path: { organization_id, gtin } } },
  );
  if (error) throw new Error(explain(error));
  return Object.values(data.fields).flatMap((fact) => (fact.hint === null ? [] : [fact.hint]));
}

export async function newKey(organization_id: string): Promise<string> {
  const { data, error } = await client.POST(
    "/account/api/v1/organizations/{organization_id}/api-keys",
    {
      params: { path: { organization_id }, header: { "Idempotency-Key": crypto.randomUUID() } },
      body: { name: "Nightly export", role: "editor", expires_at: null },
    },
  );
  if (error) throw new Error(explain(error));
  return data.key;
}

export async function revoke(organization_id: string, key_id: string): Promise<void> {
  const { error } = await client.PATCH(
    "/account/api/v1/organizations/{organization_id}/api-keys/{key_id}",
    { params: { path: { organization_id, key_id } }, body: { is_active: false } },
  );
  if (error) throw new Error(explain(error));
}

export async function incomplete(organization_id: string): Promise<Product[]> {
  const found: Product[] = [];
  for (let page = 1; ; page += 1) {
    const { data, error } = await client.GET("/dashboard/api/v1/trade-items/{organization_id}", {
      params: { path: { organization_id }, query: { complete: false, page, page_size: 100 } },
    });
    if (error) throw new Error(explain(error));
    found.push(...data.data);
    if (!data.pagination.has_next) return found;
  }
}

export async function publish(organization_id: string, gtin: string, file: File): Promise<string> {
  const product = await client.POST("/dashboard/api/v1/trade-items/{organization_id}", {
    params: { path: { organization_id }, header: { "Idempotency-Key": crypto.randomUUID() } },
    body: { gtin, name: "Oat drink 1 l", country_of_origin: "DE", metadata: { season: "summer" } },
  });
  if (product.error) throw new Error(explain(product.error));

  const image = await client.POST(
    "/dashboard/api/v1/trade-items/{organization_id}/{gtin}/images",
    {
      params: { path: { organization_id, gtin } },
      // A file is a text to the document; what is sent is the form.
      body: { image: "", title: "Front" },
      bodySerializer: ({ title }) => {
        const form = new FormData();
        form.set("image", file);
        form.set("title", title ?? "");
        return form;
      },
    },
  );
  if (image.error) throw new Error(explain(image.error));

  const offer = await client.POST("/dashboard/api/v1/offers/{organization_id}", {
    params: { path: { organization_id } },
    body: { gtin, channel: "online", url: "https://shop.example.com/1", price: "1.99", currency: "EUR" },
  });
  if (offer.error) throw new Error(explain(offer.error));

  const certificate = await client.POST("/dashboard/api/v1/certifications/{organization_id}", {
    params: { path: { organization_id } },
    body: { gtin, certification: { code: "eu-organic" }, expiry_date: "2027-02-28" },
  });
  if (certificate.error) throw new Error(explain(certificate.error));
  return [image.data.image_url, offer.data.url_status, certificate.data.is_active].join(" ");
}

export async function discontinue(organization_id: string, offer_id: string): Promise<void> {
  const { error } = await client.PATCH("/dashboard/api/v1/offers/{organization_id}/{offer_id}", {
    params: { path: { organization_id, offer_id } },
    body: { status: "discontinued" },
  });
  if (error) throw new Error(explain(error));
}

export async function remove(organization_id: string, gtin: string): Promise<void> {
  const { error } = await client.DELETE("/dashboard/api/v1/trade-items/{organization_id}/{gtin}", {
    params: { path: { organization_id, gtin } },
  });
  if (error) throw new Error(explain(error));
}

export async function wrong(organization_id: string): Promise<void> {
  // @ts-expect-error a role that does not exist
  const role: components["schemas"]["NewApiKeyRequest"]["role"] = "emperor";
  // @ts-expect-error an address that does not exist
  await client.GET("/dashboard/api/v1/statistics/{organization_id}", {});
  // @ts-expect-error the organization is left out
  await client.GET("/dashboard/api/v1/stats/{organization_id}", { params: { path: {} } });
  void [organization_id, role];
}
