// The page: says what the browser is, takes jobs, shows what it does.

import { detect } from "./capabilities.js";
import { circumstances, watch } from "./circumstances.js";
import { Connection } from "./connection.js";
import { show } from "./status.js";
import * as work from "./work.js";

/** @typedef {import("../../schemas/generated/browser.d.ts").FromBridge} FromBridge */
/** @typedef {import("../../schemas/generated/browser.d.ts").Prepared} Prepared */

const options = new URLSearchParams(location.hash.slice(1));

/** @returns {string} outlives a reload, but not the tab; a copied tab gets its own */
function tabId() {
  const kept = sessionStorage.getItem("placewise-tab");
  const id = kept ?? crypto.randomUUID();
  sessionStorage.setItem("placewise-tab", id);
  return id;
}

async function start() {
  if (!isSecureContext) {
    show.state("can't work here", "this page needs https:// or localhost: browsers give models "
      + "and threads to secure pages only");
    return;
  }
  watch();
  const page = crypto.randomUUID();
  const tab = tabId();
  show.state("looking at this browser …");
  const [capabilities, config] = await Promise.all([
    detect(),
    fetch(new URL("config.json", import.meta.url)).then((answer) => answer.json()),
  ]);
  show.capabilities(capabilities);

  let job = "";
  /** @type {Prepared | null} */
  let prepared = null;
  /** @type {Worker | null} */
  let clock = null;

  const connection = new Connection(address(config), options.get("token") ?? "", {
    hello: () => ({
      type: "hello", protocol: 1, tab, page, label: options.get("name"), capabilities,
    }),
    state: (state, trouble) => {
      job = "";
      work.abort();
      show.state(state === "lost" ? "connection lost, trying again …" : "refused", trouble);
    },
    said: (message) => void take(message),
  });

  /** @param {FromBridge} message */
  async function take(message) {
    switch (message.type) {
      case "welcome":
        show.state("connected, waiting for work");
        if (!clock) {
          clock = new Worker(new URL("clock.js", import.meta.url));
          clock.onmessage = async () =>
            connection.send({ type: "beat", circumstances: await circumstances() });
          clock.postMessage({ seconds: message.beat_seconds });
        }
        break;
      case "prepare": {
        const mine = `${message.job}/${message.attempt}`;
        job = mine;
        const names = message.models.map((one) => `${one.name} (${one.backend})`);
        show.state(`preparing ${names.join(", ")}`);
        const answer = await work.prepare(message);
        if (job !== mine) break; // taken away meanwhile
        prepared = answer.type === "prepared" ? answer : null;
        if (prepared) show.prepared(message, prepared);
        else show.state("could not do a job", /** @type {any} */ (answer).message);
        connection.send(answer);
        break;
      }
      case "go": {
        const mine = job;
        if (mine !== `${message.job}/${message.attempt}`) break;
        show.state("running");
        const answer = await work.go(message);
        if (job !== mine) break;
        connection.send(answer);
        if (answer.type === "lap") show.lap(message.job, answer);
        break;
      }
      case "release":
        if (job === `${message.job}/${message.attempt}`) {
          job = "";
          work.abort();
          show.state("connected, waiting for work");
        }
        break;
      case "recycle":
        job = "";
        show.state("beginning anew", message.reason);
        connection.close();
        location.reload(); // nothing else gives back all that was taken, and lets it be measured
        break;
      case "refused":
        show.state("refused", message.message);
        break;
    }
  }

  addEventListener("pagehide", () => connection.close());
  connection.open();
}

/** @param {{websocket_url: string | null, websocket_port: number}} config */
function address(config) {
  if (config.websocket_url) return config.websocket_url;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${location.hostname}:${config.websocket_port}/`;
}

start().catch((error) => show.state("can't work here", String(error)));
