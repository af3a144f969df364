// What the page shows: nothing that did not happen.

/** @typedef {import("../../schemas/generated/browser.d.ts").Capabilities} Capabilities */
/** @typedef {import("../../schemas/generated/browser.d.ts").Prepare} Prepare */
/** @typedef {import("../../schemas/generated/browser.d.ts").Prepared} Prepared */
/** @typedef {import("../../schemas/generated/browser.d.ts").Lap} Lap */

const SHOWN_JOBS = 20;

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @type {Map<string, {cells: HTMLTableCellElement[], times: number[]}[]>} */
const rows = new Map();

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export const show = {
  /**
   * @param {string} text
   * @param {string} [trouble]
   */
  state(text, trouble) {
    element("state").textContent = text;
    element("trouble").textContent = trouble ?? "";
    element("trouble").hidden = !trouble;
  },

  /** @param {Capabilities} found */
  capabilities(found) {
    const gpu = found.webgpu;
    const named = gpu && ([gpu.vendor, gpu.architecture, gpu.device, gpu.description]
      .filter(Boolean).join(" ") || "an adapter without a name");
    const facts = {
      browser: `${found.browser} ${found.version}${found.headless ? " (headless)" : ""}`,
      "processor cores": String(found.cores ?? "not told"),
      WebAssembly: found.wasm.simd
        ? `SIMD, ${found.wasm.threads ? "threads" : "one thread (page not isolated)"}` : "no SIMD",
      WebGPU: gpu ? `${named}${gpu.is_fallback ? ", a software fallback" : ""}` : "no adapter",
      WebNN: found.webnn?.length
        ? `contexts for ${found.webnn.map((one) => one.device_type).join(", ")}` : "no context",
      "memory can be measured": found.can_measure_memory ? "yes" : "no",
    };
    element("capabilities").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
      const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      detail.textContent = value;
      return [term, detail];
    }));
  },

  /**
   * @param {Prepare} asked
   * @param {Prepared} prepared
   */
  prepared(asked, prepared) {
    element("nothing").hidden = true;
    element("jobs").hidden = false;
    const body = /** @type {HTMLTableSectionElement} */ (element("jobs").querySelector("tbody"));
    rows.set(asked.job, prepared.models.map((model, index) => {
      const row = body.insertRow(0);
      const texts = [asked.models[index].name, model.requested, model.actual, "0",
        model.first_run_ms.toFixed(1), ""];
      const cells = texts.map((text) => {
        const cell = row.insertCell();
        cell.textContent = text;
        return cell;
      });
      return { cells, times: [] };
    }));
    while (body.rows.length > SHOWN_JOBS) body.deleteRow(-1);
    if (rows.size > SHOWN_JOBS) rows.delete(rows.keys().next().value ?? "");
  },

  /**
   * @param {string} job
   * @param {Lap} lap
   */
  lap(job, lap) {
    for (const span of lap.spans) {
      const row = rows.get(job)?.[span.model];
      if (!row) continue;
      row.times.push(span.end_ms - span.start_ms);
      row.cells[3].textContent = String(row.times.length);
      row.cells[5].textContent = median(row.times).toFixed(2);
    }
  },
};
