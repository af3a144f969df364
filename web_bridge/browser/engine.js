// The worker that runs ONNX models. One message at a time, and one run at a time: two sessions
// that run at once in one tab break each other on everything but plain WASM.

import { FileTrouble, file } from "./files.js";
import { sample } from "./samples.js";

/** @typedef {import("../../schemas/generated/browser.d.ts").ModelTask} ModelTask */
/** @typedef {import("../../schemas/generated/browser.d.ts").PreparedModel} PreparedModel */
/** @typedef {import("../../schemas/generated/browser.d.ts").Span} Span */
/** @typedef {import("../../schemas/generated/browser.d.ts").Backend} Backend */

/**
 * @typedef {object} Loaded
 * @property {string} key
 * @property {any} session
 * @property {Record<string, number>} placement
 * @property {number} fetch_ms
 * @property {number} load_ms
 * @property {number | null} first_run_ms
 * @property {boolean} reused
 */

/**
 * @typedef {object} Known
 * @property {string} session
 * @property {Record<string, any>} outputs
 * @property {number} took_ms
 */

/**
 * @typedef {object} Held
 * @property {ModelTask} task
 * @property {Loaded} loaded
 * @property {Record<string, any>} feeds
 * @property {Record<string, any> | null} last
 */

const BUNDLES = /** @type {const} */ ({ wasm: "ort.wasm", webgpu: "ort.webgpu", webnn: "ort.all" });
const PROVIDERS = { cpu: "wasm", webgpu: "webgpu", js: "webgpu", webnn: "webnn" };
const CACHED_INPUTS = 64;
/** @type {Record<string, number>} bytes of one value */
const WIDTHS = { int64: 8, uint8: 1, bool: 1, float16: 2 };

/** @type {any} */
let ort = null;
let bundle = "";
let threads = 1;
/** @type {any} */
let context = null;
/** @type {Map<string, Loaded>} */
const sessions = new Map();
/** Outputs of earlier runs, of any job, by their session and the hashes of their inputs.
 * @type {Map<string, Known>} */
const known = new Map();
/** @type {Held[]} */
let held = [];
/** @type {string[] | null} */
let listening = null;

// The runtime tells where it put each node only in its log; elsewhere the log is not wanted.
for (const name of /** @type {const} */ (["log", "info", "debug", "warn", "error"])) {
  const said = console[name].bind(console);
  console[name] = (...words) => {
    const text = words.map(String).join(" ");
    if (listening && /placed on|Number of nodes/i.test(text)) listening.push(text);
    else if (!/onnxruntime:/.test(text)) said(...words);
  };
}

self.onmessage = async ({ data }) => {
  try {
    self.postMessage({ id: data.id, done: await answer(data) });
  } catch (error) {
    self.postMessage({ id: data.id, trouble: trouble(error) });
  }
};

/** @param {any} asked */
async function answer(asked) {
  if (asked.kind === "prepare") return prepare(asked.models, asked.samples);
  if (asked.kind === "run") return run(asked.order, asked.samples);
  throw new Error(`unknown to the engine: ${asked.kind}`);
}

/** @param {unknown} error */
function trouble(error) {
  if (error instanceof FileTrouble) return { code: error.code, message: error.message };
  const message = String(error instanceof Error ? error.message : error);
  const memory = /out of memory|bad_alloc|allocat|memory access out of bounds|Aborted\(OOM\)/i;
  const unsupported = /not supported|no available backend|not implemented|unsupported/i;
  const code = memory.test(message) ? "out_of_memory"
    : unsupported.test(message) ? "unsupported" : "run_failed";
  return { code, message };
}

/**
 * @param {ModelTask[]} models
 * @param {number} samples
 * @returns {Promise<PreparedModel[]>}
 */
async function prepare(models, samples) {
  await begin(models);
  const keys = models.map(keyOf);
  for (const [key, loaded] of sessions) {
    if (keys.includes(key)) continue;
    sessions.delete(key);
    forgetOnDevice(key);
    await loaded.session.release();
  }
  held = [];
  /** @type {PreparedModel[]} */
  const prepared = [];
  for (const task of models) {
    const loaded = await load(task);
    const one = { task, loaded, feeds: await feeds(task), last: null };
    held.push(one);
    const started = performance.now();
    const { outputs, saved_ms } = await runOnce(one, loaded.reused);
    loaded.first_run_ms ??= performance.now() - started;
    // Told before outputs are shown: reading a tensor moves it.
    const kept = task.keep ? /** @type {any} */ (Object.values(outputs)[0].location) : null;
    const actual = placed(loaded.placement, task.backend);
    prepared.push({
      sha256: task.sha256,
      requested: task.backend,
      actual,
      placement: loaded.placement,
      bundle,
      threads,
      reused: loaded.reused,
      fetch_ms: loaded.fetch_ms,
      load_ms: loaded.load_ms,
      first_run_ms: loaded.first_run_ms,
      saved_ms,
      outputs: samples ? await shown(outputs, samples) : [],
      text: null,
      kept,
    });
    loaded.reused = true;
  }
  return prepared;
}

/**
 * Load the runtime itself, once per worker.
 * @param {ModelTask[]} models
 */
async function begin(models) {
  if (ort) return;
  /** @type {Backend} */
  const most = models.some((one) => one.backend === "webnn") ? "webnn"
    : models.some((one) => one.backend === "webgpu") ? "webgpu" : "wasm";
  const name = BUNDLES[most];
  const folder = new URL("vendor/onnxruntime-web/", import.meta.url).href;
  ort = await import(`${folder}${name}.min.mjs`);
  threads = Math.max(...models.map((one) => one.threads));
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = folder;
  ort.env.logLevel = "verbose";
  bundle = `onnxruntime-web-${ort.env.versions?.web ?? "unknown"}/${name}`;
}

/** @param {ModelTask} task */
function keyOf(task) {
  return JSON.stringify([task.sha256, task.backend, task.webnn_device, task.free_dimensions,
    task.keep, task.outputs]);
}

/**
 * @param {ModelTask} task
 * @returns {Promise<Loaded>}
 */
async function load(task) {
  const key = keyOf(task);
  const there = sessions.get(key);
  if (there) return there;
  const asked = performance.now();
  const { bytes } = await file(task.sha256);
  const fetched = performance.now();
  listening = [];
  /** @type {Record<string, any>} */
  const options = {
    executionProviders: [await provider(task)],
    logSeverityLevel: 0,
    logVerbosityLevel: 0,
    graphOptimizationLevel: "all",
  };
  if (Object.keys(task.free_dimensions).length) {
    options.freeDimensionOverrides = task.free_dimensions;
  }
  if (task.keep && task.backend !== "wasm") {
    options.preferredOutputLocation = task.backend === "webgpu" ? "gpu-buffer" : "ml-tensor";
  }
  const session = await ort.InferenceSession.create(new Uint8Array(bytes), options);
  const placement = counted(listening);
  listening = null;
  const loaded = {
    key, session, placement, first_run_ms: null, reused: false,
    fetch_ms: fetched - asked,
    load_ms: performance.now() - fetched,
  };
  sessions.set(key, loaded);
  return loaded;
}

/** @param {ModelTask} task */
async function provider(task) {
  if (task.backend !== "webnn") return task.backend;
  // Tensors stay on the device only between sessions of one context.
  const deviceType = task.webnn_device;
  context ??= await navigator.ml?.createContext({ deviceType });
  return { name: "webnn", deviceType, context };
}

/**
 * Count graph nodes by execution provider, from what the runtime logged.
 * @param {string[]} lines
 * @returns {Record<string, number>}
 */
function counted(lines) {
  /** @type {Record<string, number>} */
  const found = {};
  for (const line of lines) {
    const match = /placed on \[(\w+?)(?:ExecutionProvider)?\]\.? *Number of nodes: (\d+)/i.exec(line);
    if (match) {
      const name = match[1].toLowerCase();
      const place = PROVIDERS[/** @type {keyof typeof PROVIDERS} */ (name)] ?? name;
      found[place] = (found[place] ?? 0) + Number(match[2]);
    }
  }
  return found;
}

/**
 * Say where a model really ran.
 * @param {Record<string, number>} placement
 * @param {Backend} requested
 */
function placed(placement, requested) {
  const places = Object.keys(placement);
  if (!places.length) return requested === "wasm" ? "wasm" : "unknown";
  if (places.length === 1) return places[0];
  const most = places.sort((a, b) => placement[b] - placement[a])[0];
  const total = Object.values(placement).reduce((sum, one) => sum + one, 0);
  // A few nodes that shape tensors stay on the processor everywhere. WebNN makes one node of many,
  // so that counting tells nothing: both together are mixed.
  return most !== "webnn" && !placement.webnn && placement[most] >= 0.9 * total ? most : "mixed";
}

/** @param {ModelTask} task */
async function feeds(task) {
  /** @type {Record<string, any>} */
  const found = {};
  for (const input of task.inputs) {
    if (!input.sha256) continue;
    const { bytes } = await file(input.sha256);
    found[input.name] = new ort.Tensor(input.dtype, typed(input.dtype, bytes), input.shape);
  }
  return found;
}

/**
 * @param {string} dtype
 * @param {ArrayBuffer} bytes
 */
function typed(dtype, bytes) {
  switch (dtype) {
    case "float32": return new Float32Array(bytes);
    case "int64": return new BigInt64Array(bytes);
    case "int32": return new Int32Array(bytes);
    default: return new Uint8Array(bytes);
  }
}

/**
 * Run one model; its outputs replace those of its last run.
 * @param {Held} one
 * @param {boolean} mayReuse whether an output that is known for the input may be taken
 * @returns {Promise<{outputs: Record<string, any>, saved_ms: number | null}>} with what the run
 *   took that made them, if they were known
 */
async function runOnce(one, mayReuse) {
  const { task } = one;
  const key = [one.loaded.key, ...task.inputs.map((input) => input.sha256)].join();
  const found = mayReuse && task.cache ? known.get(key) : undefined;
  if (found) {
    one.last = found.outputs;
    return { outputs: found.outputs, saved_ms: found.took_ms };
  }
  const all = { ...one.feeds };
  for (const input of task.inputs) {
    if (!input.source) continue;
    const output = held[input.source.model].last?.[input.source.output];
    if (!output) throw new Error(`model ${input.source.model} has not run yet`);
    all[input.name] = output;
  }
  const options = { logSeverityLevel: 3 };
  const names = task.outputs.length ? task.outputs : undefined;
  const started = performance.now();
  const outputs = names ? await one.loaded.session.run(all, names, options)
    : await one.loaded.session.run(all, options);
  const took_ms = performance.now() - started;
  if (!task.cache) drop(one.last);
  one.last = outputs;
  if (task.cache) keep(key, { session: one.loaded.key, outputs, took_ms });
  return { outputs, saved_ms: null };
}

/**
 * @param {string} key
 * @param {Known} made
 */
function keep(key, made) {
  const old = known.get(key);
  known.delete(key);
  known.set(key, made);
  if (old) drop(old.outputs);
  if (known.size > CACHED_INPUTS) {
    const [oldest, forgotten] = known.entries().next().value ?? ["", null];
    known.delete(oldest);
    if (forgotten) drop(forgotten.outputs);
  }
}

/** @param {string} session whose outputs on a device end with it */
function forgetOnDevice(session) {
  for (const [key, one] of known) {
    if (one.session !== session) continue;
    if (Object.values(one.outputs).every((output) => output.location === "cpu")) continue;
    known.delete(key);
    drop(one.outputs);
  }
}

/** @returns {number} megabytes of the outputs that are kept for inputs to come */
function keptMegabytes() {
  let bytes = 0;
  for (const { outputs } of known.values()) {
    for (const output of Object.values(outputs)) bytes += output.size * (WIDTHS[output.type] ?? 4);
  }
  return bytes / 1e6;
}

/** @param {Record<string, any> | null} outputs give back what lies on a device */
function drop(outputs) {
  for (const output of Object.values(outputs ?? {})) {
    if (output.location !== "cpu") output.dispose();
  }
}

/**
 * @param {number[]} order
 * @param {number} samples
 */
async function run(order, samples) {
  /** @type {Span[]} */
  const spans = [];
  for (const model of order) {
    const one = held[model];
    const start = performance.now();
    const { saved_ms } = await runOnce(one, true);
    const end = performance.now();
    spans.push({
      model, cached: saved_ms !== null, saved_ms, tokens: null, first_token_ms: null,
      start_ms: performance.timeOrigin + start,
      end_ms: performance.timeOrigin + end,
    });
  }
  const outputs = [];
  if (samples) for (const one of held) outputs.push(one.last ? await shown(one.last, samples) : []);
  return { spans, outputs, kept_mb: known.size ? keptMegabytes() : null };
}

/**
 * @param {Record<string, any>} outputs
 * @param {number} samples
 */
async function shown(outputs, samples) {
  const found = [];
  for (const [name, output] of Object.entries(outputs)) {
    const data = output.location === "cpu" ? output.data : await output.getData(false);
    found.push(sample(name, output.dims, data, samples));
  }
  return found;
}
