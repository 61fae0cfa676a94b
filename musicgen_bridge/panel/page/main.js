// Puts the page's parts together.

import { Ask } from "./ask.js";
import { $, doing, noTrouble, show, trouble } from "./dom.js";
import { bind } from "./keyboard.js";
import { Player } from "./player.js";
import { Queue } from "./queue.js";
import { Recording } from "./recording.js";
import { Session } from "./session.js";
import { Takes } from "./takes.js";
import { Wire } from "./wire.js";

const LEASE_S = 30;

const wire = new Wire(document.querySelector("meta[name=token]").content);
const session = new Session(wire);
const player = new Player();
const recording = new Recording(wire, player);
const ask = new Ask(wire, recording);
const takes = new Takes(wire, player, recording, ask);
const queue = new Queue(wire, (...took) => session.latency(...took));

let lost = false;
let leased = 0;

const begin = doing(async () => {
  if (lost) noTrouble();
  lost = false;
  await wire.request("hello", { client: "panel" });
  await wire.request("subscribe", { lease_s: LEASE_S });
  leased = performance.now();
  await Promise.all([session.refresh(), ask.fill(), queue.refresh(), takes.load()]);
  performance.mark("ready");
});

wire.addEventListener("open", begin);
wire.addEventListener("lost", () => {
  if (!lost) trouble({ code: "E_NO_DAEMON", text: "the daemon does not answer; start it with musicgen-bridge start --panel" });
  lost = true;
  session.state("away");
});
wire.on("heartbeat", () => {
  if (performance.now() - leased < (LEASE_S * 1000) / 3) return;
  leased = performance.now();
  wire.request("subscribe", { lease_s: LEASE_S }).catch(() => {});
});
wire.on("bye", () => session.state("stopped"));
wire.on("fail", (id, command, code, text) => {
  if (String(id).startsWith("panel-") && code !== "E_CANCELLED") trouble({ code, text });
});
session.addEventListener("project", doing(() => takes.load()));

$("trouble-close").addEventListener("click", noTrouble);
$("stop").addEventListener("click", () => player.stop());
$("volume").addEventListener("input", () => {
  player.volume = Number($("volume").value);
});
for (const which of ["a", "b"]) $(`hear-${which}`).addEventListener("click", () => hear(which));
$("switch").addEventListener("click", () => hear(player.compared.heard === "a" ? "b" : "a"));

function hear(which) {
  const { a, b } = player.compared;
  if (!a || !b) return;
  player.hear(which);
  if (!player.voices.has(a.path) || !player.voices.has(b.path)) doing(() => takes.compare(which, player.compared[which]))();
}

player.addEventListener("change", showCompared);
function showCompared() {
  const { compared } = player;
  const both = compared.a && compared.b;
  for (const which of ["a", "b"]) {
    show($(`name-${which}`), compared[which] ? compared[which].prompt || compared[which].name : "none");
    $(`hear-${which}`).disabled = !both;
    $(`hear-${which}`).setAttribute("aria-pressed", String(Boolean(both && compared.heard === which && player.voices.has(compared[which].path))));
  }
  $("switch").disabled = !both;
  ticking ||= requestAnimationFrame(tick);
}

let ticking = 0;
function tick() {
  const { place } = player;
  show($("counter"), place ? `${place.bar + 1}.${Math.floor(place.beat) + 1}` : "–.–");
  takes.tick();
  ticking = player.playing ? requestAnimationFrame(tick) : 0;
}

const onTake = (work) => () => takes.current && work(takes.current);
bind([
  ["/", "write the prompt", () => $("prompt").focus()],
  ["r", "record from the microphone, or end it", () => recording.toggleRecording()],
  ["j ArrowDown", "the next take", () => takes.move(1)],
  ["k ArrowUp", "the take before", () => takes.move(-1)],
  ["p", "play or stop the take", onTake((take) => takes.play(take))],
  ["a", "make the take A", onTake((take) => takes.compare("a", take))],
  ["b", "make the take B", onTake((take) => takes.compare("b", take))],
  ["x", "switch between A and B", () => $("switch").click()],
  ["g", "the take again, with a new seed", onTake((take) => takes.again(take))],
  ["c", "continue the take", onTake((take) => takes.continue(take))],
  ["m", "take it as melody", onTake((take) => takes.follow(take))],
  ["Escape", "stop all sound", () => player.stop()],
  ["?", "show these keys", () => $("keys-dialog").showModal()],
]);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  takes.redraw();
  recording.draw();
});

wire.open();
