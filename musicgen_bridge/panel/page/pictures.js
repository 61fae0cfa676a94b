// Waveform, spectrogram and chroma on canvases, in the colours of the style sheet.

import { CLASSES } from "./chroma.js";
import { hann, spectrum } from "./fft.js";
import { mono } from "./sound.js";

const SIZE = 2048;
const LOWEST_HZ = 40;
const FLOOR_DB = 80; // below the loudest

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  return canvas.getContext("2d");
}

/** Draw the lowest and the highest sample of each column, and a line where each of `bars` bars begins. */
export function drawWaveform(canvas, buffer, bars = 0) {
  const context = prepared(canvas);
  const { width, height } = canvas;
  const samples = mono(buffer);
  context.fillStyle = colour("--bar-line");
  for (let bar = 1; bar < bars; bar += 1) context.fillRect(Math.round((bar * width) / bars), 0, 1, height);
  context.fillStyle = colour("--wave");
  for (let x = 0; x < width; x += 1) {
    const first = Math.floor((x * samples.length) / width);
    const last = Math.max(first + 1, Math.floor(((x + 1) * samples.length) / width));
    let low = 1;
    let high = -1;
    for (let n = first; n < last; n += 1) {
      if (samples[n] < low) low = samples[n];
      if (samples[n] > high) high = samples[n];
    }
    const top = ((1 - high) / 2) * height;
    context.fillRect(x, top, 1, Math.max(1, ((high - low) / 2) * height));
  }
}

/** Draw time to the right, frequency upwards from 40 Hz in octaves, and level as colour. */
export function drawSpectrogram(canvas, buffer) {
  const context = prepared(canvas);
  const { width, height } = canvas;
  const samples = mono(buffer);
  const power = spectrum(SIZE);
  const window = hann(SIZE);
  const highest = Math.min(16000, buffer.sampleRate / 2);
  const bins = Array.from({ length: height }, (_, y) => {
    const hertz = LOWEST_HZ * (highest / LOWEST_HZ) ** (1 - y / height);
    return (hertz * SIZE) / buffer.sampleRate;
  });
  const columns = Array.from({ length: Math.ceil(width / 2) }, (_, column) => {
    const middle = Math.floor(((2 * column + 1) * samples.length) / width);
    return power(window.map((value, n) => value * (samples[middle + n - SIZE / 2] ?? 0)));
  });
  const loudest = columns.reduce((most, column) => column.reduce((high, value) => Math.max(high, value), most), 1e-12);
  const ramp = [0, 1, 2, 3].map((step) => rgb(colour(`--ramp-${step}`)));
  const image = context.createImageData(width, height);
  for (let x = 0; x < width; x += 1) {
    const column = columns[Math.floor(x / 2)];
    for (let y = 0; y < height; y += 1) {
      const level = 1 + (10 * Math.log10(between(column, bins[y]) / loudest + 1e-12)) / FLOOR_DB;
      image.data.set(along(ramp, Math.max(0, Math.min(1, level))), 4 * (y * width + x));
    }
  }
  context.putImageData(image, 0, 0);
}

/** Draw the loudest pitch class of each frame, C at the bottom; fainter where it stands out less. */
export function drawChroma(canvas, frames) {
  const context = prepared(canvas);
  const { width, height } = canvas;
  const names = 22 * (window.devicePixelRatio || 1);
  const row = height / 12;
  context.font = `${row}px sans-serif`;
  context.textBaseline = "middle";
  CLASSES.forEach((name, pitch) => {
    context.fillStyle = colour(name.length > 1 ? "--raised" : "--surface");
    context.fillRect(0, height - (pitch + 1) * row, width, row);
    context.fillStyle = colour("--muted");
    if (name.length === 1) context.fillText(name, 4, height - (pitch + 0.5) * row);
  });
  context.fillStyle = colour("--accent");
  const step = (width - names) / frames.length;
  frames.forEach(({ loudest, share }, at) => {
    context.globalAlpha = Math.min(1, share * 2.5);
    context.fillRect(names + at * step, height - (loudest + 1) * row, Math.ceil(step), Math.ceil(row));
  });
  context.globalAlpha = 1;
}

/** Return the pitch classes that a chroma holds longest, in words, for those who do not see the picture. */
export function heardOf(frames) {
  const counts = CLASSES.map((name, pitch) => [frames.filter(({ loudest, share }) => share && loudest === pitch).length, name]);
  const most = counts.filter(([count]) => count).sort(([one], [other]) => other - one).slice(0, 4);
  return most.map(([count, name]) => `${name} ${Math.round((100 * count) / frames.length)} %`).join(", ");
}

function between(column, bin) {
  const low = Math.floor(bin);
  const part = bin - low;
  return (1 - part) * column[low] + part * (column[low + 1] ?? 0);
}

function rgb(text) {
  const whole = parseInt(text.slice(1), 16);
  return [whole >> 16, (whole >> 8) & 255, whole & 255, 255];
}

function along(ramp, level) {
  const at = Math.min(level * (ramp.length - 1), ramp.length - 1.0001);
  const low = Math.floor(at);
  return ramp[low].map((value, n) => value + (at - low) * (ramp[low + 1][n] - value));
}
