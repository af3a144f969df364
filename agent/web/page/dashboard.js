// The dashboard: asks the agent now and then, and listens to what it says in between.

import { charts, Validations } from "./charts.js";
import { clock, element, figures, fill, percent } from "./tables.js";

const ASK_EVERY_MS = 2000;
const DRAW_EVERY_MS = 500;
const SHOWN = 12;
const ENOUGH_EVENTS = 20;

/** @typedef {{time: string, data: any}} Said */

const validations = new Validations();
const metric = /** @type {HTMLSelectElement} */ (element("metric"));
/** @type {Record<string, Said[]>} */
const said = { alerts: [], decisions: [], refinements: [] };
/** @type {{at: number, events: number} | undefined} */
let before;
let stale = true;

/** @param {string} kind */
async function ask(kind) {
  const answer = await fetch(`api/${kind}`);
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer.json();
}

/** @param {any} status */
function showStatus(status) {
  const now = { at: performance.now(), events: status.events_logged };
  const perSecond = before && (1000 * (now.events - before.events)) / (now.at - before.at);
  before = now;
  element("state").textContent =
    `${status.agent_id}, version ${status.version}, up since ${new Date(status.started_at).toLocaleString()}`;
  figures({
    "events logged": status.events_logged,
    "events per second": perSecond,
    "measurements learnt": status.observations_learned,
    "MB learnt": status.learned_mb,
    "models known": status.models_known,
    "hardware known": status.hardware_known,
    "requests answered": status.requests_answered,
    "open predictions": status.open_predictions,
    "set aside": status.quarantined,
    "messages refused": status.dead_letters,
  });
  fill("accuracy", Object.entries(status.metrics).map(([name, one]) =>
    [name, one.validated, percent(one.median_ape), percent(one.coverage_90)]));
}

/** @param {any} models */
function showModels(models) {
  /** @type {any[]} */
  const known = models.standings.filter((/** @type {any} */ one) => one.events >= ENOUGH_EVENTS);
  fill("standings", known.slice(0, SHOWN).map((one) => [
    one.metric, one.hardware, one.events, percent(one.recent_ape), percent(one.usual_ape),
    percent(one.bias), one.trend,
  ]));
}

/** @param {any} reply */
function showBrowsers(reply) {
  fill("browsers", reply.workers.map((/** @type {any} */ one) => [
    `${one.browser?.browser ?? one.worker_id} ${one.browser?.version ?? ""}`,
    (one.backends ?? []).join(", "), one.browser?.tabs, one.models.length,
  ]));
}

/** @param {any} reply */
function showQuarantine(reply) {
  fill("quarantine", reply.measurements.slice(0, SHOWN).map((/** @type {any} */ one) =>
    [clock(one.time), one.model, one.hardware, one.reason]));
}

/** @param {any} reply */
const chosen = (reply) =>
  reply.recommended?.hardware ?? reply.chosen?.strategy ??
  (reply.placed?.length ? `${reply.placed.length} placed` : "nothing");

/** @param {Said} event */
function refinementRow({ time, data }) {
  const scope = [data.scope.metric, data.scope.hardware].filter(Boolean).join(" on ");
  return [
    clock(time), data.method, scope || "everything", percent(data.median_ape_before),
    percent(data.median_ape_after), data.kept ? "kept" : "not kept",
  ];
}

function showSaid() {
  fill("alerts", said.alerts.map(({ time, data }) => [clock(time), data.kind, data.message]));
  fill("decisions", said.decisions.map(({ time, data }) =>
    [clock(time), data.kind, chosen(data.reply)]));
  fill("refinements", said.refinements.map(refinementRow));
}

function showMetrics() {
  const known = [...metric.options].map((one) => one.value);
  for (const name of validations.metrics()) {
    if (!known.includes(name)) metric.add(new Option(name));
  }
}

/** @param {boolean} connected */
function light(connected) {
  element("light").classList.toggle("on", connected);
}

async function keepAsking() {
  for (;;) {
    try {
      showStatus(await ask("status"));
      showModels(await ask("models"));
      showQuarantine(await ask("quarantine"));
      showBrowsers(await ask("browsers"));
      light(true);
    } catch (error) {
      light(false);
      element("state").textContent =
        `no answer: ${error instanceof Error ? error.message : error}; trying again`;
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
}

function listen() {
  const stream = new EventSource("api/stream");
  stream.addEventListener("validations", (message) => {
    const { time, data } = JSON.parse(message.data);
    validations.add(Date.parse(time), data);
    stale = true;
  });
  for (const channel of Object.keys(said)) {
    stream.addEventListener(channel, (message) => {
      said[channel] = [JSON.parse(message.data), ...said[channel]].slice(0, SHOWN);
      showSaid();
    });
  }
  /** @type {(string | undefined)[][]} */
  let refused = [];
  stream.addEventListener("dead_letters", (message) => {
    const letter = JSON.parse(message.data);
    refused = [[clock(letter.received_at), letter.topic, letter.error.message], ...refused];
    fill("dead-letters", (refused = refused.slice(0, SHOWN)));
  });
}

async function draw() {
  const redraw = await charts(element("pairs"), element("errors"));
  metric.addEventListener("change", () => (stale = true));
  setInterval(() => {
    if (!stale) return;
    stale = false;
    showMetrics();
    redraw(validations.of(metric.value));
  }, DRAW_EVERY_MS);
}

showSaid();
fill("dead-letters", []);
listen();
draw().catch(() => {
  element("charts-missing").hidden = false;
  element("charts-missing").textContent =
    "The charts' library is missing: run `make assets`, or install the wheel, which brings it.";
});
await keepAsking();
