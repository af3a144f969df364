// What this browser really offers, found by trying it.

/** @typedef {import("../../schemas/generated/browser.d.ts").Capabilities} Capabilities */
/** @typedef {import("../../schemas/generated/browser.d.ts").Adapter} Adapter */
/** @typedef {import("../../schemas/generated/browser.d.ts").WebnnContext} WebnnContext */

const LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize", "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupSizeX"];

// A module of one function with one SIMD instruction (i8x16.splat, then drop).
const SIMD_MODULE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 65, 0, 253, 15, 26,
  11,
]);

const CONTEXT_MS = 5_000;

/**
 * Find out what the browser offers.
 * @returns {Promise<Capabilities>}
 */
export async function detect() {
  const [who, webgpu, webnn] = await Promise.all([identity(), adapter(), contexts()]);
  return {
    ...who,
    user_agent: navigator.userAgent.slice(0, 512),
    cores: navigator.hardwareConcurrency || null,
    device_memory_gb: navigator.deviceMemory ?? null,
    secure_context: isSecureContext,
    cross_origin_isolated: crossOriginIsolated === true,
    can_measure_memory: crossOriginIsolated === true &&
      typeof performance.measureUserAgentSpecificMemory === "function",
    wasm: { simd: WebAssembly.validate(SIMD_MODULE), threads: threads() },
    webgpu,
    webnn,
  };
}

/** @returns {boolean} whether WebAssembly memory can be shared with threads */
function threads() {
  try {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    return crossOriginIsolated && memory.buffer instanceof SharedArrayBuffer;
  } catch {
    return false; // no shared memory: the browser says so by throwing
  }
}

async function identity() {
  const agent = navigator.userAgent;
  const data = navigator.userAgentData;
  const headless = /Headless/.test(agent) || navigator.webdriver === true;
  /** @type {Pick<Capabilities, "engine" | "mobile" | "headless" | "platform">} */
  const common = {
    engine: /Firefox\//.test(agent) ? "gecko" : /Chrome\//.test(agent) ? "blink"
      : /AppleWebKit\//.test(agent) ? "webkit" : "other",
    mobile: data?.mobile ?? /Mobi/.test(agent),
    headless,
    platform: (data?.platform || navigator.platform || "").slice(0, 512),
  };
  if (data?.getHighEntropyValues) {
    const more = await data.getHighEntropyValues(["fullVersionList", "architecture", "bitness"]);
    const named = more.fullVersionList ?? data.brands ?? [];
    const platform = [data.platform, more.architecture, more.bitness].filter(Boolean).join(" ");
    for (const [brand, browser] of [["Microsoft Edge", "edge"], ["Opera", "opera"],
      ["Google Chrome", "chrome"], ["HeadlessChrome", "chromium"], ["Chromium", "chromium"]]) {
      const found = named.find((/** @type {{brand: string}} */ one) => one.brand === brand);
      if (found) return { ...common, browser, version: found.version, platform };
    }
  }
  for (const [pattern, browser] of /** @type {[RegExp, string][]} */ ([
    [/Edg\/([\d.]+)/, "edge"], [/Firefox\/([\d.]+)/, "firefox"],
    [/(?:Headless)?Chrome\/([\d.]+)/, "chromium"], [/Version\/([\d.]+).*Safari/, "safari"]])) {
    const found = pattern.exec(agent);
    if (found) return { ...common, browser, version: found[1] };
  }
  return { ...common, browser: "other", version: "unknown" };
}

/** @returns {Promise<Adapter | null>} */
async function adapter() {
  if (!navigator.gpu) return null;
  let found;
  try {
    found = await inTime(navigator.gpu.requestAdapter(), CONTEXT_MS);
  } catch {
    return null; // the interface is there, but gives nothing
  }
  if (!found) return null;
  const info = found.info ?? {};
  /** @type {Record<string, number>} */
  const limits = {};
  for (const name of LIMITS) {
    const value = /** @type {any} */ (found.limits)[name];
    if (value > 0) limits[name] = Math.min(Number(value), 1e12);
  }
  const text = (/** @type {unknown} */ value) => printable(String(value ?? ""));
  return {
    vendor: text(info.vendor),
    architecture: text(info.architecture),
    device: text(info.device),
    description: text(info.description),
    is_fallback: /** @type {any} */ (info).isFallbackAdapter ?? /** @type {any} */ (found).isFallbackAdapter ?? null,
    limits,
  };
}

/** @returns {Promise<WebnnContext[]>} the kinds of context that the browser gives */
async function contexts() {
  const ml = navigator.ml;
  if (!ml?.createContext) return [];
  /** @type {WebnnContext[]} */
  const found = [];
  for (const device_type of /** @type {const} */ (["cpu", "gpu", "npu"])) {
    try {
      const context = await inTime(ml.createContext({ deviceType: device_type }), CONTEXT_MS);
      const named = context.opSupportLimits ? Object.values(context.opSupportLimits()) : null;
      const operators = named?.filter((one) => typeof one === "object" && one !== null).length;
      found.push({ device_type, operators: operators ?? null });
      context.destroy?.();
    } catch {
      // not given: that is the answer
    }
  }
  return found;
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {number} milliseconds
 * @returns {Promise<T>}
 */
function inTime(promise, milliseconds) {
  const late = new Promise((_, reject) =>
    setTimeout(() => reject(new Error(`not within ${milliseconds} ms`)), milliseconds));
  return Promise.race([promise, /** @type {Promise<T>} */ (late)]);
}

/**
 * @param {string} text
 * @returns {string} without control characters, at most 512 characters
 */
export function printable(text) {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f]+/g, " ").slice(0, 512).trim();
}
