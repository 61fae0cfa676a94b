// What products take in, from what other blocks passed on: norms, attention's splits, the text's softmax, activations.
#pragma once

#include "numbers.cuh"
#include "words.cuh"

// the layer norm of the residual stream
__device__ __forceinline__ void normalise(const Step& p, Shared& s, int norm, u32 turn) {
  constexpr int K = HIDDEN, MINE = (K + CHUNK - 1) / CHUNK;  // stretches of 64 k of a warp
  constexpr bool KEEPS = ROWS * MINE <= 16;                  // x in registers, or else it is read twice
  const int tid = thread(), warp = tid / 32, lane = tid % 32;
  const u16* scale = p.norms + (u64)norm * 2 * K;
  u32 gain[MINE], shift[MINE];
  uint2 x[ROWS][MINE];
  float2 sums[ROWS] = {};
  const auto k = [&](int i) { return 64 * (warp + WARPS * i) + 2 * lane; };
#pragma unroll
  for (int i = 0; i < MINE; i++)
    if (k(i) < K) {  // asked for before the wait for x
      asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(gain[i]) : "l"(scale + k(i)));
      asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(shift[i]) : "l"(scale + K + k(i)));
    }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    if (KEEPS && r) break;
    constexpr int COUNT = KEEPS ? ROWS * MINE : MINE;
    uint2(&words)[COUNT] = *(uint2(*)[COUNT])x[r];
    receive(words, [&](int i) {
      return k(i % MINE) < K ? p.x + (KEEPS ? i / MINE : r) * K + k(i % MINE) : nullptr;
    }, turn);
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      if (k(i % MINE) < K) {
        const float a = __uint_as_float(words[i].x), b = __uint_as_float(words[i].y);
        float2& sum = sums[KEEPS ? i / MINE : r];
        sum.x += a + b, sum.y += a * a + b * b;
      }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int d = 16; d; d /= 2) {
      sums[r].x += __shfl_xor_sync(~0u, sums[r].x, d);
      sums[r].y += __shfl_xor_sync(~0u, sums[r].y, d);
    }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    if (lane == r) *(float2*)s.stats[warp][r] = sums[r];
  block();
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    float2 sum = {};
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum.x += s.stats[w][r][0], sum.y += s.stats[w][r][1];
    const float mean = sum.x / K, factor = rsqrtf(fmaxf(sum.y / K - mean * mean, 0.f) + 1e-5f);
#pragma unroll
    for (int i = 0; i < MINE; i++)
      if (k(i) < K) {
        if (!KEEPS) look(x[r][i], p.x + r * K + k(i));
        const float2 g = wide(gain[i]), b = wide(shift[i]);
        const float x0 = __uint_as_float(x[r][i].x), x1 = __uint_as_float(x[r][i].y);
        *(u32*)(s.input + r * (K + SKEW) + k(i)) =
            narrow((x0 - mean) * factor * g.x + b.x, (x1 - mean) * factor * g.y + b.y);
      }
  }
}

// what the splits of each head attended to, weighed into one
__device__ __forceinline__ void merge(const Step& p, Shared& s, u32 turn) {
  constexpr int PER_WARP = (HEADS + WARPS - 1) / WARPS, ITEMS = ROWS * PER_WARP;
  constexpr int AT_ONCE = ITEMS > 16 ? 2 : (ITEMS + 3) / 4;
  const int tid = thread(), warp = tid / 32, lane = tid % 32, part = lane % 8;
#pragma unroll 1
  for (int first = lane / 8; first < ITEMS + lane / 8; first += 4 * AT_ONCE) {
    uint4 mixed[AT_ONCE * SPLITS];
    u32 weight[AT_ONCE * SPLITS];
    const auto at = [&](int i) -> const u32* {
      const int item = first + 4 * (i / SPLITS), h = warp + WARPS * (item % PER_WARP);
      return item < ITEMS && h < HEADS
          ? p.mixed + ((item / PER_WARP * HEADS + h) * SPLITS + i % SPLITS) * MIXED : nullptr;
    };
    receive(mixed, [&](int i) { const u32* from = at(i); return from ? from + 4 * part : from; }, turn);
    receive(weight, [&](int i) { const u32* from = at(i); return from ? from + HEAD / 2 : from; }, turn);
#pragma unroll
    for (int m = 0; m < AT_ONCE; m++) {
      const int item = first + 4 * m, h = warp + WARPS * (item % PER_WARP);
      if (item >= ITEMS || h >= HEADS) continue;
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
      *((uint4*)(s.input + item / PER_WARP * (HIDDEN + SKEW) + h * HEAD) + part) = make_uint4(
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
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    uint2 score[MINE];
    if (r < BATCH) receive(score, [&](int i) { return k(i) < K ? p.scores + r * K + k(i) : nullptr; }, turn);
    const int first = s.texts[r][0], last = s.texts[r][1];
#pragma unroll
    for (int i = 0; i < MINE; i++) {
      if (64 * (warp + WARPS * i) >= K) continue;
      u32 pair = 0;
      if (r < BATCH) {
        const int token = k(i) % TEXT;
        const bool hears0 = token >= first && token < last, hears1 = token + 1 >= first && token + 1 < last;
        const float x0 = hears0 ? __uint_as_float(score[i].x) : -INFINITY;
        const float x1 = hears1 ? __uint_as_float(score[i].y) : -INFINITY;
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

// the feed-forward layer's inner activations
__device__ __forceinline__ void fetch(const Step& p, Shared& s, u32 turn) {
  constexpr int PER_WARP = (FFN + CHUNK - 1) / CHUNK, ITEMS = ROWS * PER_WARP;
  constexpr int AT_ONCE = ITEMS > 32 ? 8 : (ITEMS + 3) / 4;
  const int tid = thread(), warp = tid / 32, lane = tid % 32;
#pragma unroll 1
  for (int first = lane / 8; first < ITEMS + lane / 8; first += 4 * AT_ONCE) {
    const auto k = [&](int i) { return 64 * (warp + WARPS * ((first + 4 * i) % PER_WARP)) + lane % 8 * 8; };
    const auto row = [&](int i) { return (first + 4 * i) / PER_WARP; };
    uint4 words[AT_ONCE];
    receive(words, [&](int i) {
      return first + 4 * i < ITEMS && k(i) < FFN ? p.inner + (row(i) * FFN + k(i)) / 2 : nullptr;
    }, turn);
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++)
      if (first + 4 * i < ITEMS && k(i) < FFN) *(uint4*)(s.input + row(i) * (FFN + SKEW) + k(i)) = words[i];
  }
}
