// The melody as MusicGen-Melody hears it, with the numbers of musicgen_bridge/engine/chroma.py: which of twelve pitch
// classes is loudest, about eight times a second (Copet et al. 2023, 3.2; filters as Ellis 2007 and librosa).

import { hann, spectrum } from "./fft.js";

export const RATE = 32000;
export const CLASSES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
const SIZE = 16384;
const HOP = 4096;

let filters = null;

/** Return the weight [12][SIZE / 2 + 1] of each frequency in each pitch class, C first. */
function weights() {
  if (filters) return filters;
  const pitch = Float64Array.from({ length: SIZE }, (_, k) => 12 * Math.log2((k * RATE) / SIZE / (440 / 16)));
  pitch[0] = pitch[1] - 18; // 0 Hz, one and a half octaves below the next
  filters = CLASSES.map(() => new Float64Array(SIZE / 2 + 1));
  for (let k = 0; k <= SIZE / 2; k += 1) {
    const width = Math.max(pitch[k + 1] - pitch[k], 1);
    const near = CLASSES.map((_, row) => {
      const distance = ((pitch[k] - row + 6 + 120) % 12) - 6;
      return Math.exp(-0.5 * ((2 * distance) / width) ** 2);
    });
    const norm = Math.hypot(...near);
    const octave = Math.exp(-0.5 * ((pitch[k] / 12 - 5) / 2) ** 2);
    near.forEach((weight, row) => {
      filters[(row + 9) % 12][k] = (weight / norm) * octave; // from A first to C first
    });
  }
  return filters;
}

/** Return the loudest pitch class (0 is C) and its share of all, 0 to 1, of each frame of mono samples at RATE. */
export async function chroma(samples) {
  const lacking = Math.max(0, SIZE - samples.length);
  const padded = new Float64Array(Math.max(SIZE, samples.length));
  padded.set(samples, Math.floor(lacking / 2));
  const power = spectrum(SIZE);
  const window = hann(SIZE);
  const frames = [];
  for (let at = 0; at <= padded.length; at += HOP) {
    const spectre = power(window.map((value, n) => value * padded[mirrored(at + n - SIZE / 2, padded.length)]));
    const raw = weights().map((row) => row.reduce((sum, weight, k) => sum + weight * spectre[k], 0));
    const total = raw.reduce((sum, value) => sum + value, 0);
    const loudest = raw.indexOf(Math.max(...raw));
    frames.push({ loudest, share: total > 1e-9 ? raw[loudest] / total : 0 });
    if (frames.length % 16 === 0) await new Promise((resolve) => setTimeout(resolve)); // the page stays alive
  }
  return frames;
}

function mirrored(at, length) {
  if (at < 0) return -at;
  return at < length ? at : 2 * (length - 1) - at;
}
