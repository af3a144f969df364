// Files by content hash: from the browser's cache or from the agent, always verified.

const CACHE = "placewise-files-v1";

/** A file that is not what its hash says, or that can't be had. */
export class FileTrouble extends Error {
  /**
   * @param {"fetch_failed" | "wrong_hash"} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * Get a file.
 * @param {string} sha256
 * @returns {Promise<{bytes: ArrayBuffer, sha256: string, cached: boolean}>}
 * @throws {FileTrouble}
 */
export async function file(sha256) {
  const address = new URL(`files/${sha256}`, import.meta.url).href;
  const cache = await opened();
  const kept = await cache?.match(address);
  if (kept) {
    const bytes = await kept.arrayBuffer();
    if ((await digest(bytes)) === sha256) return { bytes, sha256, cached: true };
    await cache?.delete(address); // damaged in the cache: get it anew
  }
  let response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new FileTrouble("fetch_failed", `${sha256.slice(0, 12)}: ${error}`);
  }
  if (!response.ok) {
    throw new FileTrouble("fetch_failed", `${sha256.slice(0, 12)}: HTTP ${response.status}`);
  }
  const bytes = await response.arrayBuffer();
  const found = await digest(bytes);
  if (found !== sha256) {
    throw new FileTrouble("wrong_hash", `asked for ${sha256.slice(0, 12)}, got ${found.slice(0, 12)}`);
  }
  try {
    await cache?.put(address, new Response(bytes.slice(0)));
  } catch {
    // No room in the cache: the file is fetched again next time.
  }
  return { bytes, sha256: found, cached: false };
}

/** @returns {Promise<Cache | null>} null where there is no cache (no secure context) */
async function opened() {
  try {
    return typeof caches === "undefined" ? null : await caches.open(CACHE);
  } catch {
    return null; // private windows refuse it
  }
}

/**
 * @param {ArrayBuffer} bytes
 * @returns {Promise<string>} SHA-256, in hexadecimal
 */
export async function digest(bytes) {
  const hashed = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hashed, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
