// What every exercise needs: where the service is, the key, and assertions that end the program.
declare const process: { env: Record<string, string | undefined> };

function variable(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run make client-check`);
  return value;
}

export const url = variable("DASHBOARD_URL");
export const key = variable("DASHBOARD_KEY");
export const organization_id = variable("DASHBOARD_ORGANIZATION");

export function equal(found: unknown, expected: unknown, what: string): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${what}: ${one} instead of ${other}`);
}

export function present<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new Error(`${what} is missing`);
  return value;
}

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

export function picture(): File {
  const bytes = Uint8Array.from(atob(PNG), (character) => character.charCodeAt(0));
  return new File([bytes], "front.png", { type: "image/png" });
}
