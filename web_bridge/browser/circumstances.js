// How the tab is at the time: memory, late timers, pressure on the processor.

/** @typedef {import("../../schemas/generated/browser.d.ts").Circumstances} Circumstances */

const PATIENCE_MS = 2_000;
const TIMER_MS = 50;

let late = 0;
/** @type {Circumstances["pressure"]} */
let pressure = null;
/** @type {number | null} */
let known = null;
/** @type {Promise<number | null> | null} */
let measuring = null;
let patient = true;

/** Begin to watch. Call once. */
export function watch() {
  let due = performance.now() + TIMER_MS;
  setInterval(() => {
    const now = performance.now();
    late = Math.max(late, now - due);
    due = now + TIMER_MS;
  }, TIMER_MS);
  if (typeof PressureObserver === "function") {
    const observer = new PressureObserver((records) => {
      pressure = records[records.length - 1].state;
    });
    observer.observe("cpu", { sampleInterval: 1_000 }).catch(() => {
      pressure = null; // not allowed here: the browser doesn't tell
    });
  }
}

/**
 * Memory of the page and its workers in MB, by the one call that sees WebAssembly's.
 *
 * Browsers may take many seconds over it: after one that was slow, only the last known value is
 * given, and a new one is asked for beside.
 * @returns {Promise<number | null>}
 */
export async function memory() {
  if (typeof performance.measureUserAgentSpecificMemory !== "function" || !crossOriginIsolated) {
    return null;
  }
  measuring ??= performance.measureUserAgentSpecificMemory().then(
    (/** @type {{bytes: number}} */ found) => {
      measuring = null;
      known = found.bytes / 1e6;
      return known;
    },
    () => {
      measuring = null;
      return null; // refused at the moment
    },
  );
  if (!patient) return known;
  const asked = measuring;
  const slow = Symbol("slow");
  const first = await Promise.race([
    asked,
    new Promise((resolve) => setTimeout(() => resolve(slow), PATIENCE_MS)),
  ]);
  if (first === slow) {
    patient = false;
    return known;
  }
  return /** @type {number | null} */ (first);
}

/**
 * @param {{measure?: boolean}} [options] `measure`: ask for the memory now
 * @returns {Promise<Circumstances>}
 */
export async function circumstances({ measure = false } = {}) {
  const lag_ms = late;
  late = 0;
  return {
    memory_mb: measure ? await memory() : known,
    lag_ms: Math.min(Math.max(0, lag_ms), 1e9),
    pressure,
    visible: document.visibilityState === "visible",
  };
}
