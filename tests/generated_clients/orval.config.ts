import { defineConfig } from "orval";

const input = "./generated/openapi.json";

export default defineConfig({
  client: {
    input,
    output: {
      target: "./generated/orval/client.ts",
      client: "fetch",
      override: { mutator: { path: "./orval_fetch.ts", name: "ask" } },
    },
  },
  schemas: { input, output: { target: "./generated/orval/schemas.ts", client: "zod" } },
});
