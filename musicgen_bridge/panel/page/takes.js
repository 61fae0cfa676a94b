// The project's takes, whoever asked for them: pictures, listening, and what to do with one next.

import { cutAnew } from "./cut.js";
import { $, button, doing, el, say, show } from "./dom.js";
import { drawSpectrogram, drawWaveform } from "./pictures.js";
import { TAKE } from "./recording.js";
import { load } from "./sound.js";
import { told } from "./wire.js";

const TYPES = { wav: "audio/wav", flac: "audio/flac", aiff: "audio/aiff" };
const MADE = ["fit", "recut"]; // of what was there: nothing is drawn, so another seed gives the same
const query = (path) => `path=${encodeURIComponent(path)}`;

/** Return what a take is, in words. */
function factsOf(take) {
  const bars = Number((take.quarters / take.bar).toFixed(2));
  const facts = [
    `${bars} ${bars === 1 ? "bar" : "bars"}`, `${Number(take.bpm.toFixed(2))} BPM`, take.signature, take.key,
    { melody: "follows a melody", continue: "goes on from a recording", fit: "a recording, fitted", recut: "cut anew", fill: "a section made anew" }[take.mode],
    take.mode === "fit" ? null : take.model,
    new Date(take.created).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
  ];
  return facts.filter(Boolean).join(" · ");
}

export class Takes {
  #wire;
  #player;
  #recording;
  #ask;
  #cards = new Map(); // path -> {take, card}
  #drawn;

  constructor(wire, player, recording, ask) {
    this.#wire = wire;
    this.#player = player;
    this.#recording = recording;
    this.#ask = ask;
    this.#drawn = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) if (isIntersecting) this.#draw(target);
    }, { rootMargin: "300px" });
    wire.on("done", (id, job, index, total, path) => path !== undefined && this.#add(path));
    player.addEventListener("change", () => this.#showPlaying());
  }

  /** List the takes of the session's project anew. */
  async load() {
    const takes = await (await told(fetch("/takes"))).json();
    for (const { card } of this.#cards.values()) card.remove();
    this.#cards.clear();
    $("takes").append(...takes.map((take) => this.#card(take)));
    this.#count();
  }

  /** Return the take that has the keyboard's focus, or else the newest. */
  get current() {
    const card = document.activeElement?.closest?.(".take") ?? $("takes").firstElementChild;
    return card && this.#cards.get(card.dataset.path)?.take;
  }

  /** Move the focus to the next (1) or previous (-1) take. */
  move(by) {
    const cards = [...$("takes").children];
    const at = cards.indexOf(document.activeElement?.closest?.(".take"));
    cards[Math.max(0, Math.min(cards.length - 1, at + by))]?.focus();
  }

  async #add(path) {
    if (this.#cards.has(path)) return;
    const response = await fetch(`/take?${query(path)}`);
    if (!response.ok) return; // a recording has no sidecar, and is no take
    const take = await response.json();
    if (this.#cards.has(take.path)) return;
    $("takes").prepend(this.#card(take));
    this.#count();
    say(`take done: ${take.prompt || take.name}`);
  }

  #count() {
    $("takes-empty").hidden = this.#cards.size > 0;
  }

  // What can be done with a take

  async play(take) {
    const buffer = await load(take.path, take.sample_rate);
    this.#player.toggle(take, buffer);
  }

  /** Render a take's request again, with a seed of its own. */
  async again(take) {
    const { seed, ...request } = take.request;
    await this.#wire.request("render", request);
    say("queued again, with a new seed");
  }

  async continue(take) {
    await this.#recording.choose(take.path, take.name, "continue");
    $("prompt").value ||= take.prompt;
    $("prompt").focus();
  }

  async follow(take) {
    await this.#recording.choose(take.path, take.name, "melody");
    $("prompt").focus();
  }

  /** Make a take A or B of the comparison; with both there, they play in step. */
  async compare(which, take) {
    this.#player.choose(which, take);
    const { a, b } = this.#player.compared;
    if (a && b) {
      const buffers = await Promise.all([a, b].map((one) => load(one.path, one.sample_rate)));
      this.#player.compare(new Map([[a.path, buffers[0]], [b.path, buffers[1]]]));
    } else {
      say(`${which.toUpperCase()} is ${take.prompt || take.name}; choose the other take`);
    }
  }

  async copy(take) {
    await navigator.clipboard.writeText(take.path);
    say("the path is copied");
  }

  // How it looks

  #card(take) {
    const what = take.prompt || take.name;
    const extra = take.part && take.part !== what ? ` (${take.part})` : "";
    const card = el(
      "article",
      { class: "take", tabindex: 0, "data-path": take.path, "aria-label": `${what}${extra}, ${factsOf(take)}`, draggable: "true" },
      el(
        "header",
        {},
        el("h3", {}, `${what}${extra}`),
        el("p", { class: "facts" }, factsOf(take)),
        take.mode === "fit" ? null : button(`Seed ${take.seed}`, () => this.#ask.restore(take), { class: "seed", title: "put its words, length and seed into the form" }),
      ),
      el(
        "div",
        { class: "pictures", click: doing(() => this.play(take)) },
        el("canvas", { class: "wave", role: "img", "aria-label": `Waveform of ${what}` }),
        el("canvas", { class: "spectrogram", role: "img", "aria-label": `Spectrogram of ${what}` }),
        el("div", { class: "playhead", hidden: true }),
      ),
      take.warning ? el("p", { class: "note" }, take.warning) : null,
      el(
        "div",
        { class: "buttons" },
        button("Play", () => this.play(take), { class: "play", "aria-pressed": "false", "aria-keyshortcuts": "P" }),
        button("A", () => this.compare("a", take), { class: "a", "aria-pressed": "false", "aria-label": `A: compare ${what}`, "aria-keyshortcuts": "A" }),
        button("B", () => this.compare("b", take), { class: "b", "aria-pressed": "false", "aria-label": `B: compare ${what}`, "aria-keyshortcuts": "B" }),
        MADE.includes(take.mode) ? null : button("Again", () => this.again(take), { title: "the same with a new seed", "aria-keyshortcuts": "G" }),
        button("Continue", () => this.continue(take), { title: "render what comes after it", "aria-keyshortcuts": "C" }),
        button("As melody", () => this.follow(take), { title: "render something that follows its melody", "aria-keyshortcuts": "M" }),
      ),
      el(
        "div",
        { class: "below" },
        el(
          "details",
          { class: "path" },
          el("summary", {}, "Where it lies"),
          el("code", {}, take.path),
          button("Copy path", () => this.copy(take)),
        ),
        el("a", { class: "grip", href: `/file?${query(take.path)}`, download: take.name, title: "drag it out, or save a copy" }, "File"),
      ),
      cutAnew(this.#wire, take),
    );
    card.addEventListener("dragstart", ({ dataTransfer }) => this.#drag(dataTransfer, take));
    this.#cards.set(take.path, { take, card });
    this.#drawn.observe(card);
    return card;
  }

  /** Carry the file for a folder or a DAW, and the take for this page. */
  #drag(data, take) {
    const type = TYPES[take.name.split(".").pop()] ?? "application/octet-stream";
    data.effectAllowed = "copy";
    data.setData("DownloadURL", `${type}:${take.name}:${location.origin}/file?${query(take.path)}`);
    data.setData("text/plain", take.path);
    data.setData(TAKE, take.path);
  }

  async #draw(card) {
    this.#drawn.unobserve(card);
    const { take } = this.#cards.get(card.dataset.path) ?? {};
    const buffer = take && (await load(take.path, take.sample_rate).catch(() => null));
    if (!buffer) {
      card.classList.add("silent");
      return;
    }
    drawWaveform(card.querySelector(".wave"), buffer, take.quarters / take.bar);
    drawSpectrogram(card.querySelector(".spectrogram"), buffer);
    card.classList.add("drawn");
  }

  /** Draw every picture anew, such as in other colours. */
  redraw() {
    for (const { card } of this.#cards.values()) {
      this.#drawn.unobserve(card);
      this.#drawn.observe(card);
    }
  }

  #showPlaying() {
    const { voices, compared } = this.#player;
    for (const { take, card } of this.#cards.values()) {
      const playing = voices.has(take.path);
      card.classList.toggle("playing", playing);
      card.classList.toggle("muted", this.#player.muted(take.path));
      const play = card.querySelector(".play");
      play.setAttribute("aria-pressed", String(playing));
      show(play, playing ? "Stop" : "Play");
      for (const which of ["a", "b"]) {
        card.querySelector(`button.${which}`).setAttribute("aria-pressed", String(compared[which]?.path === take.path));
      }
    }
  }

  /** Move the playheads; called once a frame while something plays. */
  tick() {
    for (const { take, card } of this.#cards.values()) {
      const at = this.#player.at(take.path);
      const head = card.querySelector(".playhead");
      head.hidden = at === null;
      if (at !== null) head.style.left = `${100 * at}%`;
    }
  }
}
