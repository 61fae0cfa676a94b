// The form: from what stands in it to a request, and from a take's request back into it.

import { $, doing, el, say } from "./dom.js";

const NUMBERS = ["variations", "best_of", "seed", "guidance", "temperature", "top_k", "loudness"];
const TEXTS = ["parts", "key", "model", "format"];
const OF_A_RECORDING = ["file", "bars", "bpm", "signature", "loop", "separate", "mix", "loudness", "format"];
const SOURCES = "drums, bass, other, vocals";
const DOUBLE_CLICK_MS = 500;
const tempo = () => document.querySelector("input[name=tempo]:checked").value;

export class Ask {
  #wire;
  #recording;
  #asked = -Infinity;

  constructor(wire, recording) {
    this.#wire = wire;
    this.#recording = recording;
    $("ask").addEventListener("submit", doing((event) => this.#submit(event)));
    $("bars-half").addEventListener("click", () => this.#scaleBars(0.5));
    $("bars-double").addEventListener("click", () => this.#scaleBars(2));
    for (const radio of document.querySelectorAll("input[name=tempo]")) radio.addEventListener("change", () => this.#showOwn());
    this.#showOwn();
  }

  /** Fill the lists of presets and models with what the daemon has. */
  async fill() {
    const [presets, models] = await Promise.all([
      this.#wire.request("list", { what: "presets" }),
      this.#wire.request("list", { what: "models" }),
    ]);
    const genres = Map.groupBy ? Map.groupBy(presets, ({ genre }) => genre || "other") : new Map([["presets", presets]]);
    const groups = [...genres].map(([label, some]) =>
      el("optgroup", { label }, ...some.map(({ name, slot, summary }) => el("option", { value: name }, `${slot} ${name}: ${summary}`))),
    );
    this.#offer($("preset"), [el("option", { value: "" }, "none"), ...groups]);
    this.#offer($("model"), [el("option", { value: "" }, "as set"), ...models.map(({ name }) => el("option", { value: name }, name))]);
  }

  #offer(select, options) {
    const { value } = select;
    select.replaceChildren(...options);
    select.value = value;
  }

  #scaleBars(factor) {
    const bars = Number($("bars").value) || 4;
    $("bars").value = Math.min(1024, Math.max(1 / 64, bars * factor));
  }

  #showOwn() {
    $("own").hidden = tempo() !== "own";
    for (const input of $("own").querySelectorAll("input")) input.disabled = $("own").hidden;
  }

  /** Return the render keys that the form stands for; what is left blank is left to the daemon. */
  get values() {
    const values = { loop: $("loop").checked };
    if ($("prompt").value.trim()) values.prompt = $("prompt").value.trim();
    if ($("bars").value) values.bars = Number($("bars").value);
    if (tempo() === "own") Object.assign(values, { bpm: Number($("bpm").value), signature: $("signature").value.trim() });
    for (const name of NUMBERS) if ($(name).value) values[name] = Number($(name).value);
    for (const name of TEXTS) if ($(name).value.trim()) values[name] = $(name).value.trim();
    for (const name of ["stream", "mix"]) if ($(name).checked) values[name] = true;
    if ($("separate").checked) values.separate = SOURCES;
    if (this.#recording.role) values[this.#recording.role] = this.#recording.path;
    return values;
  }

  /** Put a take's words, length and seed into the form. */
  restore(take) {
    const { request } = take;
    $("prompt").value = request.prompt ?? "";
    $("preset").value = "";
    $("bars").value = request.bars ?? take.quarters / take.bar;
    $("loop").checked = request.loop;
    $("parts").value = request.parts ?? "";
    for (const name of NUMBERS) $(name).value = request[name] ?? "";
    $("seed").closest("details").open = true;
    $("prompt").focus();
    say("the take's words, length and seed are in the form");
  }

  async #submit(event) {
    event.preventDefault();
    if (event.timeStamp - this.#asked < DOUBLE_CLICK_MS) return;
    this.#asked = event.timeStamp;
    const slot = $("preset").value;
    const { values } = this;
    if (values.file) await this.#wire.request("fit", Object.fromEntries(Object.entries(values).filter(([name]) => OF_A_RECORDING.includes(name))));
    else if (slot) await this.#wire.request("trigger", { slot, ...values });
    else await this.#wire.request("render", values);
    say("queued");
  }
}
