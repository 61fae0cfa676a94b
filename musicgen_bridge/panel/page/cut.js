// A take cut anew from what the model made of it: another downbeat, length or tempo, without rendering.

import { button, el, say } from "./dom.js";
import { Failure } from "./wire.js";

/** Return the fields that cut a take anew, or null where nothing was generated, or what was is split. */
export function cutAnew(wire, take) {
  if (["fit", "fill"].includes(take.mode) || take.request.separate) return null;
  const field = (name, label, low, high, title = "") => {
    const input = el("input", { type: "number", name, min: low, max: high, step: "any", title });
    return el("label", { class: "inline" }, input, ` ${label}`);
  };
  const fields = [
    field("shift_beats", "beats earlier", -64, 64, "what sounded on two sounds on one; negative is later"),
    field("bars", "bars", 1 / 64, 1024),
    field("bpm", "BPM", 20, 400),
  ];
  const cut = async () => {
    const given = fields.map((label) => label.firstChild).filter(({ value }) => value !== "");
    if (!given.length) throw new Failure("E_ARGS", "say by how many beats it comes earlier (negative is later), or another length or tempo");
    await wire.request("recut", { take: take.path, ...Object.fromEntries(given.map(({ name, value }) => [name, Number(value)])) });
    say("queued to be cut anew");
  };
  return el(
    "details",
    { class: "cut" },
    el("summary", {}, "Cut anew"),
    el("div", { class: "row" }, ...fields, button("Cut", cut, { title: "the take stays; the new one is a file of its own" })),
  );
}
