// Takes in a loop without a gap, each started on a bar line of what already plays, and two of them compared.

const AHEAD_S = 0.05; // how far ahead a start is told to the audio thread
const FADE_S = 0.01;

/** Return a take's length and its bar in seconds. */
const lengthOf = (take) => take.frames / take.sample_rate;
const barOf = (take) => (take.bar * 60) / take.bpm;

export class Player extends EventTarget {
  #make;
  #context = null;
  #master = null;
  #volume = 1;
  voices = new Map(); // path -> {take, source, gain, from: when its first frame sounded, in the context's time}
  // A take is what the daemon tells of it; a recording has neither bpm nor bar, and is on no bar line.
  compared = { a: null, b: null, heard: "a" };

  /** `make(rate)` returns the audio context to play with, when something first plays. */
  constructor(make = (sampleRate) => new AudioContext({ sampleRate, latencyHint: "interactive" })) {
    super();
    this.#make = make;
  }

  get playing() {
    return this.voices.size > 0;
  }

  /** Set the volume in dB. */
  set volume(decibels) {
    this.#volume = decibels <= -40 ? 0 : 10 ** (decibels / 20);
    this.#master?.gain.setTargetAtTime(this.#volume, this.#context.currentTime, FADE_S);
  }

  get #leader() {
    return [...this.voices.values()].find(({ take }) => take.bpm);
  }

  /** Where the first take is, in bars and quarter notes from 0, or null. */
  get place() {
    const first = this.#leader;
    if (!first) return null;
    const quarters = (Math.max(0, this.#heard() - first.from) * first.take.bpm) / 60;
    return { bar: Math.floor(quarters / first.take.bar), beat: quarters % first.take.bar };
  }

  /** How far a take is into its loop, 0 to 1, or null where it is not heard. */
  at(path) {
    const voice = this.voices.get(path);
    const passed = voice && this.#heard() - voice.from;
    return voice && passed >= 0 ? (passed / lengthOf(voice.take)) % 1 : null;
  }

  /** Whether a take plays in step with the other one of the two, which is heard instead. */
  muted(path) {
    const { a, b, heard } = this.compared;
    return Boolean(a && b && this.voices.has(a.path) && this.voices.has(b.path)) && path === (heard === "a" ? b : a).path;
  }

  #heard() {
    return this.#context.currentTime - (this.#context.outputLatency || 0);
  }

  /** Let a take sound from the next bar line of what plays on, at once where nothing does; or end it. */
  toggle(take, buffer) {
    if (this.voices.has(take.path)) this.end(take.path);
    else this.#start(take, buffer, this.#barLine(take), 1);
    this.#tell();
  }

  /** Play the two compared takes in step, of which one is heard; whatever plays already goes on. */
  compare(buffers) {
    const { a, b } = this.compared;
    const from = this.#leader?.from ?? this.#barLine(a);
    for (const take of [a, b]) if (!this.voices.has(take.path)) this.#start(take, buffers.get(take.path), from, 0);
    this.#tell();
  }

  /** Make a take one of the two that are compared, and the one that is heard. */
  choose(which, take) {
    const other = which === "a" ? "b" : "a";
    const before = this.compared[which];
    if (before && before.path !== take.path) this.end(before.path);
    if (this.compared[other]?.path === take.path) this.compared[other] = null;
    Object.assign(this.compared, { [which]: take, heard: which });
    this.#tell();
  }

  /** Hear one of the two compared takes. */
  hear(which) {
    this.compared.heard = which;
    this.#tell();
  }

  end(path) {
    const voice = this.voices.get(path);
    if (!voice) return;
    this.voices.delete(path);
    const now = this.#context.currentTime;
    voice.gain.gain.setTargetAtTime(0, now, FADE_S / 3);
    voice.source.stop(Math.max(now, voice.from) + FADE_S * 2);
    this.#tell();
  }

  stop() {
    for (const path of [...this.voices.keys()]) this.end(path);
  }

  #balance() {
    for (const [path, { gain }] of this.voices) {
      gain.gain.setTargetAtTime(this.muted(path) ? 0 : 1, this.#context.currentTime, FADE_S / 3);
    }
  }

  /** When the next bar line of what plays falls. */
  #barLine(take) {
    const context = this.#open(take.sample_rate);
    const soon = context.currentTime + AHEAD_S;
    const first = this.#leader;
    if (!first || !take.bpm) return soon;
    const bar = barOf(first.take);
    return first.from + Math.max(0, Math.ceil((soon - first.from) / bar)) * bar;
  }

  /** Start a take whose first frame belongs at `from`; where that has passed it joins in midway. */
  #start(take, buffer, from, level) {
    const context = this.#open(take.sample_rate);
    const source = new AudioBufferSourceNode(context, { buffer, loop: true, loopStart: 0, loopEnd: lengthOf(take) });
    const gain = new GainNode(context, { gain: level });
    source.connect(gain).connect(this.#master);
    const soon = context.currentTime + AHEAD_S;
    if (from >= soon) source.start(from);
    else source.start(soon, (soon - from) % lengthOf(take));
    this.voices.set(take.path, { take, source, gain, from });
  }

  #open(rate) {
    if (!this.#context) {
      this.#context = this.#make(rate);
      this.#master = new GainNode(this.#context, { gain: this.#volume });
      this.#master.connect(this.#context.destination);
    }
    if (this.#context.state === "suspended") this.#context.resume?.();
    return this.#context;
  }

  #tell() {
    this.#balance();
    this.dispatchEvent(new Event("change"));
  }
}
