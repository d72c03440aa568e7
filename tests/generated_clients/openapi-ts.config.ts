import { defineConfig } from "@hey-api/openapi-ts";

export default defineConfig({
  input: "./generated/openapi.json",
  output: "./generated/hey_api",
  logs: { level: "warn" },
  // Every answer is validated with a zod schema. Requests are not: the plugin takes files in forms
  // for strings.
  plugins: [
    "@hey-api/client-fetch",
    "zod",
    { name: "@hey-api/sdk", validator: { request: false, response: "zod" } },
  ],
});
