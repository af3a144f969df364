// Jobs: what is loaded, what runs, and what is said of it. Knows nothing of the connection.

import { circumstances, memory } from "./circumstances.js";
import { printable } from "./capabilities.js";
import { Writer } from "./generation.js";

/** @typedef {import("../../schemas/generated/browser.d.ts").Prepare} Prepare */
/** @typedef {import("../../schemas/generated/browser.d.ts").Go} Go */
/** @typedef {import("../../schemas/generated/browser.d.ts").Prepared} Prepared */
/** @typedef {import("../../schemas/generated/browser.d.ts").PreparedModel} PreparedModel */
/** @typedef {import("../../schemas/generated/browser.d.ts").Lap} Lap */
/** @typedef {import("../../schemas/generated/browser.d.ts").Span} Span */
/** @typedef {import("../../schemas/generated/browser.d.ts").Failed} Failed */
/** @typedef {import("../../schemas/generated/browser.d.ts").ModelTask} ModelTask */

/** What ended a job here, in the words of the contract. */
class Trouble extends Error {
  /**
   * @param {Failed["code"]} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The worker that runs ONNX models: one per bundle and number of threads. */
class Engine {
  /** @param {string} key */
  constructor(key) {
    this.key = key;
    this.asked = 0;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.worker = new Worker(new URL("engine.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      const waiting = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.trouble) waiting?.reject(new Trouble(data.trouble.code, data.trouble.message));
      else waiting?.resolve(data.done);
    };
    this.worker.onerror = (event) => this.end(event.message || "the worker could not be started");
  }

  /**
   * @param {object} message
   * @returns {Promise<any>}
   */
  ask(message) {
    this.asked += 1;
    const id = this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...message });
    });
  }

  /** @param {string} reason */
  end(reason) {
    this.worker.terminate(); // the only way to get WebAssembly's memory back
    for (const waiting of this.waiting.values()) waiting.reject(new Trouble("worker_died", reason));
    this.waiting.clear();
  }
}

/** @type {Engine | null} */
let engine = null;
/** @type {Map<string, Writer>} */
const writers = new Map();
/** @type {ModelTask[]} */
let models = [];
let measureMemory = false;
/** Where each model of the job is: its index in the engine, or its writer.
 * @type {(number | Writer)[]} */
let places = [];

/** Stop whatever runs, at once. */
export function abort() {
  if (engine?.waiting.size) {
    engine.end("taken away");
    engine = null;
  }
}

/**
 * @param {Prepare} asked
 * @returns {Promise<Prepared | Failed>}
 */
export async function prepare(asked) {
  const about = { job: asked.job, attempt: asked.attempt };
  try {
    models = asked.models;
    measureMemory = asked.measure_memory;
    await keepOnly(models);
    const memory_before_mb = asked.measure_memory ? await memory() : null;
    const onnx = models.filter((one) => one.format === "onnx");
    places = models.map((one) => onnx.indexOf(one));
    const ready = onnx.length ? await runtime(onnx).ask({
      kind: "prepare", models: onnx.map(renumbered), samples: asked.samples,
    }) : [];
    /** @type {PreparedModel[]} */
    const prepared = [];
    for (const [index, task] of models.entries()) {
      prepared.push(task.format === "onnx" ? ready[onnx.indexOf(task)] : await writing(task, index));
    }
    return {
      type: "prepared", ...about, models: prepared, memory_before_mb,
      circumstances: await circumstances({ measure: measureMemory }),
    };
  } catch (error) {
    return failed(about, error);
  }
}

/**
 * @param {Go} asked
 * @returns {Promise<Lap | Failed>}
 */
export async function go(asked) {
  const about = { job: asked.job, attempt: asked.attempt };
  try {
    await circumstances(); // late timers count from here
    /** @type {Span[]} */
    const spans = [];
    /** @type {Lap["outputs"]} */
    let outputs = [];
    /** @type {number | null} */
    let kept_mb = null;
    let next = 0;
    while (next < asked.order.length) {
      const place = places[asked.order[next]];
      if (place instanceof Writer) {
        spans.push((await place.write(asked.order[next])).span);
        next += 1;
        continue;
      }
      const from = next;
      while (next < asked.order.length && typeof places[asked.order[next]] === "number") next += 1;
      const indices = asked.order.slice(from, next);
      const done = await /** @type {Engine} */ (engine).ask({
        kind: "run", order: indices.map((one) => places[one]), samples: asked.samples,
      });
      spans.push(...done.spans.map((/** @type {Span} */ span, /** @type {number} */ i) =>
        ({ ...span, model: indices[i] })));
      kept_mb = done.kept_mb;
      if (asked.samples) {
        outputs = models.map((_, i) => (typeof places[i] === "number" ? done.outputs[places[i]] : []));
      }
    }
    return {
      type: "lap", ...about, lap: asked.lap, spans, outputs, kept_mb,
      circumstances: await circumstances({ measure: measureMemory }),
    };
  } catch (error) {
    return failed(about, error);
  }
}

/**
 * @param {ModelTask} task
 * @returns {ModelTask} with other models named by their index among those of the engine
 */
function renumbered(task) {
  const inputs = task.inputs.map((input) => (input.source
    ? { ...input, source: { ...input.source, model: Number(places[input.source.model]) } } : input));
  return { ...task, inputs };
}

/**
 * @param {ModelTask[]} onnx
 * @returns {Engine} that can run them: another bundle or number of threads needs another worker
 */
function runtime(onnx) {
  const backends = new Set(onnx.map((one) => one.backend));
  const most = backends.has("webnn") ? "webnn" : backends.has("webgpu") ? "webgpu" : "wasm";
  const key = `${most}/${Math.max(...onnx.map((one) => one.threads))}`;
  if (engine?.key !== key) {
    engine?.end("another runtime is needed");
    engine = new Engine(key);
  }
  return engine;
}

/** @param {ModelTask[]} wanted */
async function keepOnly(wanted) {
  const keys = new Set(wanted.filter((one) => one.format === "gguf").map(writerKey));
  for (const [key, writer] of writers) {
    if (keys.has(key)) continue;
    writers.delete(key);
    await writer.end();
  }
  if (!wanted.some((one) => one.format === "onnx")) {
    engine?.end("not needed");
    engine = null;
  }
}

/** @param {ModelTask} task */
function writerKey(task) {
  return `${task.sha256}/${task.threads}/${task.generation?.context}`;
}

/**
 * @param {ModelTask} task
 * @param {number} index
 * @returns {Promise<PreparedModel>}
 */
async function writing(task, index) {
  const key = writerKey(task);
  let writer = writers.get(key);
  const reused = writer !== undefined;
  if (!writer) {
    writer = await Writer.load(task);
    writers.set(key, writer);
  }
  writer.task = task;
  places[index] = writer;
  const { span, text } = await writer.write(index);
  writer.about.first_run_ms ??= span.end_ms - span.start_ms;
  return {
    sha256: task.sha256, requested: task.backend, actual: "wasm", placement: {},
    bundle: `wllama/${writer.about.version}`, threads: writer.threads, reused,
    fetch_ms: writer.about.fetch_ms, load_ms: writer.about.load_ms,
    first_run_ms: writer.about.first_run_ms, saved_ms: null, outputs: [], text: text.slice(0, 4_096), kept: null,
  };
}

/**
 * @param {{job: string, attempt: number}} about
 * @param {unknown} error
 * @returns {Failed}
 */
function failed(about, error) {
  const code = /** @type {any} */ (error)?.code;
  const known = ["unsupported", "out_of_memory", "fetch_failed", "wrong_hash", "worker_died"];
  const message = printable(String(error instanceof Error ? error.message : error));
  return { type: "failed", ...about, code: known.includes(code) ? code : "run_failed", message };
}
