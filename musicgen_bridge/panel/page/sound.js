// Sound from the daemon's files and to them: decoding at a file's own rate, and WAV files made here.

import { told } from "./wire.js";

const KEPT = 16;
const decoded = new Map(); // "path@rate" -> promise of an AudioBuffer, the one used longest ago first

/** Return the AudioBuffer of encoded bytes at a sample rate; at the file's own rate no sample is changed. */
export function decode(bytes, rate) {
  return new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
}

/** Return a file's AudioBuffer at a sample rate; the last few are kept. Throws Failure. */
export function load(path, rate) {
  const name = `${path}@${rate}`;
  const known = decoded.get(name) ?? fetched(path).then((bytes) => decode(bytes, rate));
  decoded.delete(name);
  decoded.set(name, known);
  known.catch(() => decoded.delete(name));
  for (const oldest of decoded.keys()) {
    if (decoded.size <= KEPT) break;
    decoded.delete(oldest);
  }
  return known;
}

async function fetched(path) {
  return (await told(fetch(`/sound?path=${encodeURIComponent(path)}`))).arrayBuffer();
}

/** Return the mean of a buffer's channels. */
export function mono(buffer) {
  const mixed = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel += 1) {
    const samples = buffer.getChannelData(channel);
    for (let n = 0; n < mixed.length; n += 1) mixed[n] += samples[n] / buffer.numberOfChannels;
  }
  return mixed;
}

/** Return an AudioBuffer as a WAV file of 24 bits. */
export function wav(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  const frame = 3 * channels.length;
  const size = frame * buffer.length;
  const view = new DataView(new ArrayBuffer(44 + size + (size % 2)));
  const text = (at, word) => [...word].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, view.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, channels.length, true);
  view.setUint32(24, buffer.sampleRate, true);
  view.setUint32(28, buffer.sampleRate * frame, true);
  view.setUint16(32, frame, true);
  view.setUint16(34, 24, true);
  text(36, "data");
  view.setUint32(40, size, true);
  let at = 44;
  for (let n = 0; n < buffer.length; n += 1) {
    for (const samples of channels) {
      const value = Math.round(Math.max(-1, Math.min(1 - 2 ** -23, samples[n])) * 2 ** 23);
      view.setUint16(at, value & 0xffff, true);
      view.setInt8(at + 2, value >> 16);
      at += 3;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
