// The page as a client of the bridge: requests go out by POST, every answer and event comes in by server-sent events.
// Messages are those of docs/protocol.md as lists: [address, id, ...].

const PAUSES_MS = [400, 800, 1600, 3200];

export class Failure extends Error {
  constructor(code, text, retryMs) {
    super(text);
    Object.assign(this, { code, text, retryMs });
  }
}

const newId = () => `panel-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;

export class Wire extends EventTarget {
  #token;
  #peer = "";
  #waiting = new Map();

  constructor(token) {
    super();
    this.#token = token;
  }

  /** Connect, and again whenever the connection is lost; `open` and `lost` are told as events. */
  open() {
    const events = new EventSource("/events");
    events.addEventListener("peer", (event) => {
      this.#peer = JSON.parse(event.data);
      this.dispatchEvent(new Event("open"));
    });
    events.addEventListener("message", (event) => this.#hear(...JSON.parse(event.data)));
    events.addEventListener("error", () => this.dispatchEvent(new Event("lost")));
  }

  /** Call `hear(id, ...fields)` with each message of an address, such as "progress". */
  on(name, hear) {
    this.addEventListener(name, (event) => hear(...event.detail));
  }

  /** Send a request and return its answer: the fields behind the id, or a list of items. Throws Failure. */
  async request(address, values = {}, id = newId()) {
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, items: [] }));
    const body = JSON.stringify([`/musicgen/${address}`, id, ...Object.entries(values).flat()]);
    try {
      return await Promise.race([answer, this.#sending(id, body)]);
    } finally {
      this.#waiting.delete(id);
    }
  }

  /** Send until something is heard: the same id twice is one request. */
  async #sending(id, body) {
    for (const pause of PAUSES_MS) {
      await this.post("/send", body, { "X-Peer": this.#peer });
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (!this.#waiting.has(id)) return undefined;
    }
    throw new Failure("E_NO_DAEMON", "the daemon does not answer; look at its terminal, or start it again");
  }

  /** Post to the page's server; throws Failure. */
  async post(path, body, headers = {}) {
    return told(fetch(path, { method: "POST", body, headers: { ...headers, "X-Panel-Token": this.#token } }));
  }

  #hear(address, ...fields) {
    const name = address.replace("/musicgen/", "");
    const [id, ...said] = fields;
    const waiting = this.#waiting.get(id);
    if (waiting && name === "fail") waiting.reject(new Failure(said[1], said[2], said[3]));
    else if (waiting && name === "list.reply") this.#item(waiting, said);
    else if (waiting) waiting.resolve(said);
    this.dispatchEvent(new CustomEvent(name, { detail: fields }));
  }

  #item(waiting, [index, total, ...pairs]) {
    if (total > 0) waiting.items[index] = pairsOf(pairs);
    if (index + 1 >= total) waiting.resolve(waiting.items);
  }
}

/** Return ["bpm", 120, "key", ""] as an object. */
export function pairsOf(pairs) {
  const found = {};
  for (let at = 0; at + 1 < pairs.length; at += 2) found[pairs[at]] = pairs[at + 1];
  return found;
}

/** Return a response that is well; throws Failure with what the server said of one that is not. */
export async function told(asked) {
  let response;
  try {
    response = await asked;
  } catch {
    throw new Failure("E_NO_DAEMON", "the daemon does not answer; start it with musicgen-bridge start --panel");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({ code: `HTTP ${response.status}`, text: "the page's server refused" }));
  throw new Failure(said.code, said.text);
}
