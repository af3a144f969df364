// Text generation with wllama (llama.cpp in WebAssembly), greedy, so that the text can be compared.

import { file } from "./files.js";

/** @typedef {import("../../schemas/generated/browser.d.ts").ModelTask} ModelTask */
/** @typedef {import("../../schemas/generated/browser.d.ts").Span} Span */

const folder = new URL("vendor/wllama/", import.meta.url).href;

/** One loaded model. */
export class Writer {
  /**
   * @param {ModelTask} task
   * @param {any} wllama
   * @param {{fetch_ms: number, load_ms: number, first_run_ms: number | null, version: string}} about
   */
  constructor(task, wllama, about) {
    this.task = task;
    this.wllama = wllama;
    this.about = about;
    this.reused = false;
  }

  /**
   * @param {ModelTask} task
   * @returns {Promise<Writer>}
   */
  static async load(task) {
    const asked = performance.now();
    const { bytes } = await file(task.sha256);
    const fetched = performance.now();
    const { Wllama } = await import(`${folder}index.min.js`);
    const quiet = { debug() {}, log() {}, warn() {}, error: console.error.bind(console) };
    const wllama = new Wllama({ default: `${folder}wllama.wasm` },
      { suppressNativeLog: true, logger: quiet, allowOffline: true });
    await wllama.loadModel([new Blob([bytes])], {
      n_ctx: task.generation?.context ?? 1_024,
      n_threads: task.threads,
      n_gpu_layers: 0,
      seed: 1,
    });
    const about = {
      first_run_ms: null,
      fetch_ms: fetched - asked,
      load_ms: performance.now() - fetched,
      version: String(Wllama.getLibllamaVersion?.() ?? "unknown"),
    };
    return new Writer(task, wllama, about);
  }

  /** Threads that really run. */
  get threads() {
    return this.wllama.getNumThreads() || 1;
  }

  /**
   * Write once.
   * @param {number} model its index in the job
   * @returns {Promise<{span: Span, text: string}>}
   */
  async write(model) {
    const { prompt, tokens } = /** @type {NonNullable<ModelTask["generation"]>} */ (
      this.task.generation
    );
    const start = performance.now();
    let first = 0;
    let count = 0;
    let text = "";
    const chunks = await this.wllama.createCompletion({
      prompt, max_tokens: tokens, temperature: 0, top_k: 1, stream: true, cache_prompt: false,
    });
    for await (const chunk of chunks) {
      first ||= performance.now();
      const choice = chunk.choices?.[0];
      if (choice?.text) {
        text += choice.text;
        count += 1;
      }
      if (chunk.timings?.predicted_n) count = chunk.timings.predicted_n;
    }
    const end = performance.now();
    const origin = performance.timeOrigin;
    return {
      text,
      span: {
        model, cached: false, saved_ms: null, tokens: count, first_token_ms: first ? first - start : null,
        start_ms: origin + start, end_ms: origin + end,
      },
    };
  }

  /** Give everything back. */
  async end() {
    await this.wllama.exit();
  }
}
