// The queue: the jobs of every client, as the daemon lists them, with their progress; and how long takes take.

import { $, button, el, say, show } from "./dom.js";

const FAILED_SHOWN = 3;

/** What a client calls itself, for a person. */
function clientName(client) {
  if (client.startsWith("page:") || client === "panel") return "this page";
  if (client.startsWith("udp:") || client.startsWith("tcp:")) return "a program";
  return client.replace(/-[0-9a-f]{8,}$/, "");
}

export class Queue {
  #wire;
  #rows = new Map(); // job number -> list item
  #failures = new Map(); // request id -> {code, text}
  #begun = new Map(); // job number -> when it was first seen to wait or run
  #asking = false;
  #again = false;

  /** `onLatency(seconds, frames, rate)` is told how long a take took from its request to its end. */
  constructor(wire, onLatency) {
    this.#wire = wire;
    wire.on("queued", (id, job) => {
      this.#begun.set(job, performance.now());
      this.refresh();
    });
    wire.on("progress", (id, job, fraction, eta, stage) => this.#progress(job, fraction, eta, stage));
    wire.on("note", (id, job, text) => this.#note(job, text));
    wire.on("done", (id, job, index, total, path, frames, rate) => {
      if (path === undefined) return;
      if (this.#begun.has(job) && index + 1 === total) {
        onLatency((performance.now() - this.#begun.get(job)) / 1000, frames, rate);
        this.#begun.delete(job);
      }
      this.refresh();
    });
    wire.on("fail", (id, command, code, text) => {
      this.#failures.set(id, { code, text });
      this.refresh();
    });
  }

  /** Ask for the jobs anew; asked again while an answer is due, it asks once more. */
  async refresh() {
    this.#again = true;
    if (this.#asking) return;
    this.#asking = true;
    try {
      while (this.#again) {
        this.#again = false;
        this.#show(await this.#wire.request("list", { what: "jobs" }));
      }
    } catch {
      // the connection is lost; it is asked again with the next
    } finally {
      this.#asking = false;
    }
  }

  #show(jobs) {
    const open = jobs.filter(({ state }) => state === "queued" || state === "running").reverse();
    const failed = jobs.filter(({ target, state }) => state === "failed" && this.#failures.has(target));
    const shown = [...open, ...failed.slice(0, FAILED_SHOWN)];
    for (const [number, row] of this.#rows) {
      if (!shown.some(({ job }) => job === number)) {
        row.remove();
        this.#rows.delete(number);
      }
    }
    for (const job of shown) {
      if (!this.#rows.has(job.job)) this.#rows.set(job.job, this.#row(job));
      this.#update(this.#rows.get(job.job), job);
    }
    $("queue").append(...shown.map(({ job }) => this.#rows.get(job)).filter((row, at) => $("queue").children[at] !== row));
    $("queue-empty").hidden = shown.length > 0;
  }

  #row(job) {
    const what = job.prompt || "without words";
    const cancel = button("Cancel", () => this.#wire.request("cancel", { job: job.job }), {
      class: "cancel",
      "aria-label": `Cancel ${what}`,
    });
    return el(
      "li",
      { "data-job": job.job },
      el("p", { class: "what" }, el("strong", {}, what), " ", el("span", { class: "from" }, clientName(job.client))),
      el("progress", { max: 1, value: 0, "aria-label": `Progress of ${what}` }),
      el("p", { class: "stage" }, ""),
      cancel,
    );
  }

  #update(row, job) {
    row.dataset.state = job.state;
    const failure = this.#failures.get(job.target);
    if (job.state === "failed" && failure) {
      row.querySelector("progress")?.remove();
      row.querySelector(".cancel")?.remove();
      show(row.querySelector(".stage"), `${failure.text} (${failure.code})`);
      if (!row.querySelector(".dismiss")) row.append(button("Dismiss", () => this.#dismiss(job.target), { class: "dismiss" }));
    } else if (job.state === "queued") {
      show(row.querySelector(".stage"), job.position ? `waits for ${job.position} before it` : "waiting");
    } else if (!row.querySelector(".stage").textContent || row.querySelector(".stage").textContent === "waiting") {
      show(row.querySelector(".stage"), "begins");
    }
  }

  #dismiss(id) {
    this.#failures.delete(id);
    this.refresh();
  }

  #progress(job, fraction, eta, stage) {
    const row = this.#rows.get(job);
    if (!row) {
      this.refresh();
      return;
    }
    if (row.dataset.state === "queued") row.dataset.state = "running";
    const bar = row.querySelector("progress");
    if (bar) bar.value = fraction;
    show(row.querySelector(".stage"), eta >= 0 ? `${stage}, ${eta < 1 ? "under a second" : `${Math.round(eta)} s`} to go` : stage);
  }

  #note(job, text) {
    const row = this.#rows.get(job);
    row?.append(el("p", { class: "note" }, text));
    say(text);
  }
}
