// What a take follows or goes on from: a file chosen or dropped, a take, or what the microphone hears.

import { chroma, RATE } from "./chroma.js";
import { $, doing, say, show } from "./dom.js";
import { drawChroma, drawWaveform, heardOf } from "./pictures.js";
import { decode, load, mono, wav } from "./sound.js";
import { Failure } from "./wire.js";

const DRAWN_S = 30; // a take hears no more of a melody
const HEARD_RATE = 48000;
const ROLES = { melody: "its melody is followed", continue: "the take goes on from its end", file: "it is brought to the session" };
export const TAKE = "application/x-musicgen-take";

export class Recording {
  #wire;
  #player;
  #recorder = null;
  #timer = 0;
  path = "";

  constructor(wire, player) {
    this.#wire = wire;
    this.#player = player;
    $("choose").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", doing(() => this.#take($("file").files[0])));
    $("record").addEventListener("click", doing(() => this.toggleRecording()));
    $("chosen-remove").addEventListener("click", () => this.clear());
    $("chosen-play").addEventListener("click", doing(() => this.#audition()));
    player.addEventListener("change", () => this.#playing());
    this.#listenToDrops($("recording"));
  }

  /** "melody", "continue" or "file", or "" while no recording is chosen. */
  get role() {
    return this.path && document.querySelector("input[name=role]:checked").value;
  }

  /** Choose a file that the daemon can read, and draw it. */
  async choose(path, name, role = this.role || "melody") {
    this.path = path;
    show($("chosen-name"), name);
    document.querySelector(`input[name=role][value=${role}]`).checked = true;
    $("chosen").hidden = false;
    say(`${name} is chosen: ${ROLES[role]}`);
    await this.draw();
  }

  clear() {
    this.#player.end(this.path);
    this.path = "";
    $("chosen").hidden = true;
    $("choose").focus();
  }

  async draw() {
    const path = this.path;
    if (!path) return;
    const buffer = await load(path, RATE);
    drawWaveform($("chosen-wave"), buffer);
    const frames = await chroma(mono(buffer).subarray(0, DRAWN_S * RATE));
    if (path !== this.path) return;
    drawChroma($("chroma"), frames);
    $("chroma").setAttribute("aria-label", `Chroma of the recording: ${heardOf(frames)}`);
  }

  /** Send a recording to the daemon as it is, or as WAV where only the browser can read it. */
  async upload(blob, name) {
    const headers = { "X-Name": encodeURIComponent(name) };
    let response;
    try {
      response = await this.#wire.post("/recordings", blob, headers);
    } catch (error) {
      const buffer = error.code === "E_AUDIO" && (await blob.arrayBuffer().then((bytes) => decode(bytes, HEARD_RATE)).catch(() => null));
      if (!buffer) throw error;
      response = await this.#wire.post("/recordings", wav(buffer), headers);
    }
    return response.json();
  }

  async #take(file) {
    if (!file) return;
    say(`${file.name} is sent to the daemon`);
    const kept = await this.upload(file, file.name);
    $("file").value = "";
    await this.choose(kept.path, kept.name);
  }

  /** Begin to record from the microphone, or end it and choose what was recorded. */
  async toggleRecording() {
    if (this.#recorder) {
      this.#recorder.stop();
      return;
    }
    const heard = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: heard }).catch((error) => {
      throw new Failure("E_AUDIO", `the microphone can't be used (${error.name}); allow it for this page, or choose a file`);
    });
    this.#recorder = new MediaRecorder(stream);
    const pieces = [];
    this.#recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    this.#recorder.addEventListener("stop", doing(() => this.#recorded(stream, pieces)));
    this.#recorder.start();
    this.#showRecording(stream);
  }

  async #recorded(stream, pieces) {
    const { mimeType } = this.#recorder;
    this.#recorder = null;
    clearInterval(this.#timer);
    stream.getTracks().forEach((track) => track.stop());
    $("record").setAttribute("aria-pressed", "false");
    show($("record"), "Record");
    $("level").hidden = true;
    show($("record-time"), "");
    const bytes = await new Blob(pieces, { type: mimeType }).arrayBuffer();
    const kept = await this.upload(wav(await decode(bytes, HEARD_RATE)), "microphone");
    await this.choose(kept.path, kept.name);
  }

  #showRecording(stream) {
    const context = new AudioContext();
    const meter = new AnalyserNode(context, { fftSize: 2048 });
    new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(meter);
    const samples = new Float32Array(meter.fftSize);
    const began = performance.now();
    $("record").setAttribute("aria-pressed", "true");
    show($("record"), "Stop recording");
    $("level").hidden = false;
    say("recording");
    this.#timer = setInterval(() => {
      meter.getFloatTimeDomainData(samples);
      const peak = samples.reduce((high, value) => Math.max(high, Math.abs(value)), 1e-3);
      $("level").value = 20 * Math.log10(peak);
      show($("record-time"), `${((performance.now() - began) / 1000).toFixed(1)} s`);
    }, 100);
    this.#recorder.addEventListener("stop", () => context.close());
  }

  #listenToDrops(zone) {
    zone.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", doing(async (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      const take = event.dataTransfer.getData(TAKE);
      if (take) await this.choose(take, take.split(/[\\/]/).pop());
      else await this.#take(event.dataTransfer.files[0]);
    }));
  }

  async #audition() {
    const { path } = this;
    const buffer = await load(path, HEARD_RATE);
    this.#player.toggle({ path, frames: buffer.length, sample_rate: HEARD_RATE }, buffer);
  }

  #playing() {
    const playing = this.#player.voices.has(this.path);
    $("chosen-play").setAttribute("aria-pressed", String(playing));
    show($("chosen-play"), playing ? "Stop" : "Play");
  }
}
