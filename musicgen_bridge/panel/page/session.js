// The session as it stands and where its tempo comes from, the model and the machine; and how the session is changed.

import { $, doing, show } from "./dom.js";
import { pairsOf } from "./wire.js";

const SOURCES = {
  osc: "set by hand", midi: "MIDI clock", jack: "JACK", link: "Ableton Link", ableton: "Live", reaper: "Reaper",
  reaper_web: "Reaper", ardour: "Ardour",
};
const FIELDS = ["project", "bpm", "signature", "key"];

export class Session extends EventTarget {
  #wire;
  values = { bpm: 120, signature: "4/4", key: "", sample_rate: 48000, project: "" };

  constructor(wire) {
    super();
    this.#wire = wire;
    wire.on("heartbeat", () => this.refresh());
    $("session-open").addEventListener("click", () => this.#edit());
    $("session-close").addEventListener("click", () => $("session-dialog").close());
    $("session-form").addEventListener("submit", doing((event) => this.#set(event)));
  }

  /** Ask how session and daemon are, and show it; another project is told as `project`. */
  async refresh() {
    if (document.hidden && this.values.project) return;
    const [session, status] = await Promise.all([this.#wire.request("session"), this.#wire.request("status")]).catch(() => []);
    if (!session) return;
    this.#show(pairsOf(session));
    this.#tell(pairsOf(status));
  }

  #show(values) {
    const before = this.values.project;
    this.values = values;
    show($("s-bpm"), Number(values.bpm.toFixed(2)));
    show($("s-signature"), values.signature);
    show($("s-key"), values.key || "any");
    show($("s-rate"), `${values.sample_rate / 1000} kHz`);
    show($("s-project"), values.project ? values.project.split(/[\\/]/).pop() : "none: set one");
    $("s-project").title = values.project;
    if (values.project !== before) this.dispatchEvent(new Event("project"));
  }

  #tell(status) {
    show($("s-source"), SOURCES[status.tempo_source] ?? status.tempo_source);
    show($("m-model"), status.model);
    show($("m-device"), status.device || "–");
    const gigabytes = (megabytes) => (megabytes / 1024).toFixed(1);
    show($("m-memory"), status.memory_total ? `${gigabytes(status.memory)} of ${gigabytes(status.memory_total)} GB` : "–");
    this.state(status.state);
  }

  /** Show in one word how the daemon is. */
  state(word) {
    $("state").dataset.state = word;
    show($("state-word"), word);
  }

  /** Show how long the last take took. */
  latency(seconds, frames, rate) {
    show($("m-latency"), `${seconds.toFixed(1)} s for ${(frames / rate).toFixed(1)} s`);
    $("m-latency").title = "from the request to the file";
  }

  #edit() {
    for (const name of FIELDS) $(`d-${name}`).value = this.values[name] ?? "";
    $("session-dialog").showModal();
  }

  async #set(event) {
    event.preventDefault();
    const given = {};
    for (const name of FIELDS) {
      const text = $(`d-${name}`).value.trim();
      if (text !== String(this.values[name] ?? "")) given[name] = name === "bpm" ? Number(text) : text;
    }
    $("session-dialog").close();
    if (Object.keys(given).length) this.#show(pairsOf(await this.#wire.request("session", given)));
  }
}
