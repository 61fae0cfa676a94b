// The page's keys, listed where "?" is pressed; single letters do nothing while something is typed.

import { $, doing, el } from "./dom.js";

const KEPT = "single-keys";

/** Bind the keys: `keys` is a list of [keys, what for, work]; those with several names separate them by a space. */
export function bind(keys) {
  $("keys-list").replaceChildren(
    ...[["Ctrl+Enter", "render what stands in the form"], ...keys].flatMap(([names, what]) => [
      el("dt", {}, ...names.split(" ").flatMap((name, at) => [at ? " or " : "", el("kbd", {}, shown(name))])),
      el("dd", {}, what),
    ]),
  );
  $("keys-on").checked = localStorage.getItem(KEPT) !== "off";
  $("keys-on").addEventListener("change", () => localStorage.setItem(KEPT, $("keys-on").checked ? "on" : "off"));
  $("keys-open").addEventListener("click", () => $("keys-dialog").showModal());
  const works = new Map(keys.flatMap(([names, , work]) => names.split(" ").map((name) => [name, doing(work)])));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!event.repeat) $("ask").requestSubmit();
      return;
    }
    const work = works.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!work || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key !== "Escape" && (!$("keys-on").checked || event.target.closest("input, textarea, select, summary"))) return;
    event.preventDefault();
    work();
  });
}

const shown = (name) => ({ Escape: "Esc", ArrowDown: "↓", ArrowUp: "↑" })[name] ?? name.toUpperCase();
