// How orval's functions send requests: it leaves the address of the service and the key to us.
import { key, url } from "./world";

export async function ask<T>(path: string, options: RequestInit): Promise<T> {
  const headers = { ...(options.headers as Record<string, string>), "X-API-Key": key };
  const response = await fetch(new URL(path, url), { ...options, headers });
  const body = response.status === 204 ? "" : await response.text();
  return {
    data: body ? JSON.parse(body) : undefined,
    status: response.status,
    headers: response.headers,
  } as T;
}
