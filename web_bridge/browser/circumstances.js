// How the tab is at the time: memory, late timers, pressure on the processor.

/** @typedef {import("../../schemas/generated/browser.d.ts").Circumstances} Circumstances */

const PATIENCE_MS = 5_000;
const PAUSE_MS = 60_000;
const SLOW = "placewise-memory-slow";
const TIMER_MS = 50;

let late = 0;
/** @type {Circumstances["pressure"]} */
let pressure = null;

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
 * Some browsers take very long over it once threads have run in the page's process: then there is
 * none. No figure stands for another time than the one that it was taken at.
 * @returns {Promise<number | null>}
 */
export async function memory() {
  if (typeof performance.measureUserAgentSpecificMemory !== "function" || !crossOriginIsolated) {
    return null;
  }
  if (Date.now() - Number(sessionStorage.getItem(SLOW) ?? 0) < PAUSE_MS) return null;
  const asked = performance.measureUserAgentSpecificMemory().then(
    (/** @type {{bytes: number}} */ found) => found.bytes / 1e6,
    () => null, // refused at the moment
  );
  let timer = 0;
  const impatience = new Promise((resolve) => {
    timer = setTimeout(() => {
      sessionStorage.setItem(SLOW, String(Date.now()));
      resolve(null);
    }, PATIENCE_MS);
  });
  const first = /** @type {number | null} */ (await Promise.race([asked, impatience]));
  clearTimeout(timer);
  return first;
}

/**
 * @param {{measure?: boolean}} [options] `measure`: ask for the memory now
 * @returns {Promise<Circumstances>}
 */
export async function circumstances({ measure = false } = {}) {
  const lag_ms = late;
  late = 0;
  return {
    memory_mb: measure ? await memory() : null,
    lag_ms: Math.min(Math.max(0, lag_ms), 1e9),
    pressure,
    visible: document.visibilityState === "visible",
  };
}
