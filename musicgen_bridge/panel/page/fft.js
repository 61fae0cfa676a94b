// The power spectrum of real frames by a radix-2 FFT (Cooley and Tukey 1965).

/** Return a function from a frame of `size` samples (a power of two) to its power [size / 2 + 1]. */
export function spectrum(size) {
  const cosines = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / size));
  const sines = Float64Array.from({ length: size / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / size));
  const bits = Math.log2(size);
  const turned = Uint32Array.from({ length: size }, (_, at) => {
    let other = 0;
    for (let bit = 0; bit < bits; bit += 1) other |= ((at >> bit) & 1) << (bits - 1 - bit);
    return other;
  });
  const re = new Float64Array(size);
  const im = new Float64Array(size);

  return (frame) => {
    for (let at = 0; at < size; at += 1) re[at] = frame[turned[at]];
    im.fill(0);
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let first = 0; first < size; first += 2 * half) {
        for (let k = 0; k < half; k += 1) {
          const low = first + k;
          const high = low + half;
          const c = cosines[k * step];
          const s = sines[k * step];
          const x = re[high] * c - im[high] * s;
          const y = re[high] * s + im[high] * c;
          re[high] = re[low] - x;
          im[high] = im[low] - y;
          re[low] += x;
          im[low] += y;
        }
      }
    }
    return Float64Array.from({ length: size / 2 + 1 }, (_, k) => re[k] * re[k] + im[k] * im[k]);
  };
}

/** Return a periodic Hann window. */
export const hann = (size) => Float64Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size));
