// What products take in, from what other blocks passed on: norms, attention's splits, the text's softmax, activations.
#pragma once

#include "numbers.cuh"
#include "words.cuh"

// A layer norm's scale and shift, asked for before the wait for what is to be normalised: they are far away.
struct Norm {
  static constexpr int MINE = (HIDDEN + CHUNK - 1) / CHUNK;  // stretches of 64 k of a warp
  uint2 scale[MINE], shift[MINE];

  __device__ __forceinline__ Norm(const Step& p, int norm) {
    const int tid = thread();
    const u16* from = p.norms + (u64)norm * 2 * HIDDEN + 64 * (tid / 32) + tid % 16 * 4;
#pragma unroll
    for (int i = 0; i < MINE; i++)
      if (HIDDEN % CHUNK == 0 || i * CHUNK + 64 * (tid / 32) < HIDDEN) {
        asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];"
                     : "=r"(scale[i].x), "=r"(scale[i].y) : "l"(from + i * CHUNK));
        asm volatile("ld.global.nc.v2.u32 {%0, %1}, [%2];"
                     : "=r"(shift[i].x), "=r"(shift[i].y) : "l"(from + i * CHUNK + HIDDEN));
      }
  }
};

// the layer norm of the residual stream: half a warp to a row
__device__ __forceinline__ void normalise(const Step& p, Shared& s, const Norm& norm, u32 turn) {
  constexpr int K = HIDDEN, MINE = Norm::MINE, PAIRS = (ROWS + 1) / 2;  // of rows
  const int tid = thread(), warp = tid / 32, lane = tid % 32, part = lane % 16, odd = lane / 16;
  uint2 x[PAIRS * MINE];
  const auto k = [&](int i) { return 64 * (warp + WARPS * i) + 4 * part; };
  const auto inside = [&](int i) { return K % CHUNK == 0 || k(i) < K; };
  const auto is_row = [&](int pair) { return ROWS % 2 == 0 || pair * 2 + odd < ROWS; };
  receive(x, [&](int i) {
    return is_row(i / MINE) && inside(i % MINE) ? p.halves + ((i / MINE * 2 + odd) * K + k(i % MINE)) / 2 : nullptr;
  }, turn);
#pragma unroll
  for (int pair = 0; pair < PAIRS; pair++) {
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < MINE; i++)
      if (inside(i)) {
        const float2 f0 = wide(x[pair * MINE + i].x), f1 = wide(x[pair * MINE + i].y);
        sum += f0.x + f0.y + (f1.x + f1.y);
        squares += f0.x * f0.x + f0.y * f0.y + (f1.x * f1.x + f1.y * f1.y);
      }
#pragma unroll
    for (int d = 8; d; d /= 2) {
      sum += __shfl_xor_sync(~0u, sum, d);
      squares += __shfl_xor_sync(~0u, squares, d);
    }
    if (part == 0 && is_row(pair)) *(float2*)s.stats[warp][pair * 2 + odd] = make_float2(sum, squares);
  }
  block();
  float mean[PAIRS], factor[PAIRS];
#pragma unroll
  for (int pair = 0; pair < PAIRS; pair++) {
    float2 sum = {};
    if (is_row(pair))
#pragma unroll
      for (int w = 0; w < WARPS; w++) {
        const float2 of = *(float2*)s.stats[w][pair * 2 + odd];
        sum.x += of.x, sum.y += of.y;
      }
    mean[pair] = sum.x / K, factor[pair] = rsqrtf(fmaxf(sum.y / K - mean[pair] * mean[pair], 0.f) + 1e-5f);
  }
#pragma unroll
  for (int i = 0; i < MINE; i++)
    if (inside(i)) {
      const float2 g0 = wide(norm.scale[i].x), g1 = wide(norm.scale[i].y);
      const float2 b0 = wide(norm.shift[i].x), b1 = wide(norm.shift[i].y);
#pragma unroll
      for (int pair = 0; pair < PAIRS; pair++)
        if (is_row(pair)) {
          const float2 f0 = wide(x[pair * MINE + i].x), f1 = wide(x[pair * MINE + i].y);
          const float m = mean[pair], d = factor[pair];
          *(uint2*)(s.input + (pair * 2 + odd) * (K + SKEW) + k(i)) = make_uint2(
              narrow((f0.x - m) * d * g0.x + b0.x, (f0.y - m) * d * g0.y + b0.y),
              narrow((f1.x - m) * d * g1.x + b1.x, (f1.y - m) * d * g1.y + b1.y));
        }
    }
}

// what the splits of each head attended to, weighed into one
__device__ __forceinline__ void merge(const Step& p, Shared& s, u32 turn) {
  constexpr int PER_WARP = (HEADS + WARPS - 1) / WARPS, ITEMS = ROWS * PER_WARP;
  constexpr int LEAST = (ITEMS + 3) / 4, AT_ONCE = LEAST * SPLITS <= 8 ? LEAST : SPLITS < 8 ? 8 / SPLITS : 1;
  const int tid = thread(), warp = tid / 32, lane = tid % 32, part = lane % 8;
#pragma unroll 1
  for (int first = lane / 8; first < ITEMS + lane / 8; first += 4 * AT_ONCE) {
    uint4 mixed[AT_ONCE * SPLITS];
    u32 weight[AT_ONCE * SPLITS];
    const auto head = [&](int m) { return warp + WARPS * ((first + 4 * m) % PER_WARP); };
    const auto row = [&](int m) { return (first + 4 * m) / PER_WARP; };
    const auto inside = [&](int m) {
      return (ITEMS % (4 * AT_ONCE) == 0 || first + 4 * m < ITEMS) && (HEADS % WARPS == 0 || head(m) < HEADS);
    };
    const auto at = [&](int i) {
      return p.mixed + ((row(i / SPLITS) * HEADS + head(i / SPLITS)) * SPLITS + i % SPLITS) * MIXED;
    };
    const auto pairs = [&](int i) { return inside(i / SPLITS) ? at(i) + 4 * part : nullptr; };
    const auto weights = [&](int i) { return inside(i / SPLITS) ? at(i) + HEAD / 2 : nullptr; };
    do ask(mixed, pairs), ask(weight, weights);
    while (lacking(mixed, pairs, turn) | lacking(weight, weights, turn));
#pragma unroll
    for (int m = 0; m < AT_ONCE; m++)
      if (inside(m)) {
        float most = __uint_as_float(weight[m * SPLITS]), sum = 0, out[8] = {};
#pragma unroll
        for (int j = 1; j < SPLITS; j++) most = fmaxf(most, __uint_as_float(weight[m * SPLITS + j]));
#pragma unroll
        for (int j = 0; j < SPLITS; j++) {
          const float w = power(__uint_as_float(weight[m * SPLITS + j]) - most);
          const u32* pair = &mixed[m * SPLITS + j].x;
          sum += w;
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const float2 f = wide(pair[e]);
            out[2 * e] += w * f.x, out[2 * e + 1] += w * f.y;
          }
        }
        const float f = 1 / sum;
        *((uint4*)(s.input + row(m) * (HIDDEN + SKEW) + head(m) * HEAD) + part) = make_uint4(
            narrow(out[0] * f, out[1] * f), narrow(out[2] * f, out[3] * f),
            narrow(out[4] * f, out[5] * f), narrow(out[6] * f, out[7] * f));
      }
  }
}

#if TEXT
// each head's softmax over the tokens that the row hears; null rows hear none, and over none it is zero
__device__ __forceinline__ void listen(const Step& p, Shared& s, u32 turn) {
  constexpr int K = HEADS * TEXT, MINE = (K + CHUNK - 1) / CHUNK;
  const int tid = thread(), warp = tid / 32, lane = tid % 32;
  const auto k = [&](int i) { return 64 * (warp + WARPS * i) + 2 * lane; };
  const auto inside = [&](int i) { return K % CHUNK == 0 || k(i) < K; };
  uint2 score[BATCH * MINE];
  receive(score, [&](int i) { return inside(i % MINE) ? p.scores + i / MINE * K + k(i % MINE) : nullptr; }, turn);
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const int first = s.rows[r][0], last = s.rows[r][1];
#pragma unroll
    for (int i = 0; i < MINE; i++) {
      if (!inside(i)) continue;
      u32 pair = 0;
      if (r < BATCH) {
        const int token = k(i) % TEXT;
        const bool hears0 = token >= first && token < last, hears1 = token + 1 >= first && token + 1 < last;
        const float x0 = hears0 ? __uint_as_float(score[r * MINE + i].x) : -INFINITY;
        const float x1 = hears1 ? __uint_as_float(score[r * MINE + i].y) : -INFINITY;
        float most = fmaxf(x0, x1);
#pragma unroll
        for (int d = TEXT / 4; d; d /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
        const float e0 = hears0 ? __expf(x0 - most) : 0, e1 = hears1 ? __expf(x1 - most) : 0;
        float sum = e0 + e1;
#pragma unroll
        for (int d = TEXT / 4; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
        const float f = sum > 0 ? 1 / sum : 0;
        pair = narrow(e0 * f, e1 * f);
      }
      *(u32*)(s.input + r * (K + SKEW) + k(i)) = pair;
    }
  }
}
#endif
