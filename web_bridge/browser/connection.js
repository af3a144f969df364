// The connection with the bridge: speaks first, beats, comes back when it is lost.

/** @typedef {import("../../schemas/generated/browser.d.ts").FromBridge} FromBridge */
/** @typedef {import("../../schemas/generated/browser.d.ts").FromTab} FromTab */

const SUBPROTOCOL = "placewise.tab.v1";
const TOKEN_PREFIX = "placewise.token.";
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
// Coming back would only be refused again: wrong message, misbehaved, replaced, wrong version.
const FOR_GOOD = [4400, 4403, 4409, 4426];

export class Connection {
  /**
   * @param {string} address
   * @param {string} token
   * @param {{hello: () => FromTab, said: (message: FromBridge) => void,
   *   state: (state: string, trouble?: string) => void}} listener
   */
  constructor(address, token, listener) {
    this.address = address;
    this.token = token;
    this.listener = listener;
    this.pause = FIRST_PAUSE_MS;
    this.over = false;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.refusal = "";
  }

  /** Connect, and keep connected. */
  open() {
    const protocols = [SUBPROTOCOL, ...(this.token ? [TOKEN_PREFIX + this.token] : [])];
    const socket = new WebSocket(this.address, protocols);
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.send(this.listener.hello());
    };
    socket.onmessage = ({ data }) => {
      const message = /** @type {FromBridge} */ (JSON.parse(data));
      if (message.type === "welcome") this.pause = FIRST_PAUSE_MS;
      if (message.type === "refused") this.refusal = message.message;
      this.listener.said(message);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket !== socket) return;
      this.socket = null;
      if (this.over) return;
      const why = this.refusal || reason;
      this.refusal = "";
      if (FOR_GOOD.includes(code)) {
        this.over = true;
        this.listener.state("refused", why || `closed with ${code}`);
        return;
      }
      const trouble = opened ? "" : "the agent can't be reached, or the token in the address is wrong";
      this.listener.state("lost", why || trouble);
      setTimeout(() => this.over || this.open(), this.pause * (0.5 + Math.random() / 2));
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    };
  }

  /** @param {FromTab} message dropped if there is no connection: the job was given to another tab */
  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  /** Leave for good. */
  close() {
    this.over = true;
    this.send({ type: "bye" });
    this.socket?.close(1000);
  }
}
