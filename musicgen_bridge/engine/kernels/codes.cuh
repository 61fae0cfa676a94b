// Codes to the step's input, and logits to the next codes.
#pragma once

#include "numbers.cuh"
#include "words.cuh"

__device__ void embed(const Step& p, u32 turn) {
  for (int i = 2 * (blockIdx.x * THREADS + threadIdx.x); i < ROWS * HIDDEN; i += 2 * BLOCKS * THREADS) {
    const int row = i / HIDDEN, n = i % HIDDEN, place = max(0, p.before + p.position - (int)p.start[row]);
    float2 sum = wide(*(const u32*)(p.positions + (u64)place * HIDDEN + n));
    for (int book = 0; book < BOOKS; book++) {
      const long long code = p.sequence[(row % BATCH * BOOKS + book) * p.span + p.position];
      const float2 of = wide(*(const u32*)(p.embedding + (code + book * (VOCAB + 1)) * HIDDEN + n));
      sum.x += of.x, sum.y += of.y;
    }
    pass(p.x + i, sum.x, turn), pass(p.x + i + 1, sum.y, turn);
    pass(p.halves + i / 2, narrow(sum.x, sum.y), turn);
  }
}

// The next code of one book: guidance, temperature, top-k, and argmax(p / noise), which is a draw from p.
__device__ void draw(const Step& p, Shared& s, int row, int book) {
  constexpr int MINE = (VOCAB + THREADS - 1) / THREADS;
  const int tid = threadIdx.x, warp = tid / 32, lane = tid % 32;
  const bool greedy = p.temperature == 0 || p.top_k == 1;
  float logit[MINE];
  u32 key[MINE];  // ordered as the logits are
#pragma unroll
  for (int i = 0; i < MINE; i++) {
    const int v = tid + i * THREADS;
    logit[i] = -INFINITY;
    if (v < VOCAB) {
      u32 words[ROWS > BATCH ? 2 : 1];
      receive(words, [&](int c) { return p.logits + ((row + c * BATCH) * BOOKS + book) * VOCAB + v; }, p.launches + 1);
      logit[i] = __uint_as_float(words[0]);
      if (ROWS > BATCH) {
        const float null = __uint_as_float(words[ROWS - BATCH ? 1 : 0]);
        logit[i] = null + (logit[i] - null) * p.guidance;
      }
      if (!greedy) logit[i] /= p.temperature;
    }
    const u32 bits = __float_as_uint(logit[i]);
    key[i] = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  }
  u32 least = 0;
  if (!greedy && p.top_k > 0 && p.top_k < VOCAB) {
    // the top_k-th largest key, eight bits a round, by counting how many share what is known of it
    u32 known = 0, lacking = p.top_k;
    for (int shift = 24; shift >= 0; shift -= 8) {
      s.counts[tid] = 0;
      block();
#pragma unroll
      for (int i = 0; i < MINE; i++)
        if ((key[i] & known) == (least & known) && tid + i * THREADS < VOCAB)
          atomicAdd(&s.counts[key[i] >> shift & 255], 1u);
      block();
      const u32 here = s.counts[255 - tid];
      u32 sum = here;  // of the digits from 255 down to this thread's
#pragma unroll
      for (int d = 1; d < 32; d *= 2) {
        const u32 other = __shfl_up_sync(~0u, sum, d);
        if (lane >= d) sum += other;
      }
      if (lane == 31) s.warp_counts[warp] = sum;
      block();
      for (int w = 0; w < warp; w++) sum += s.warp_counts[w];
      if (sum >= lacking && sum - here < lacking) s.found[0] = 255 - tid, s.found[1] = lacking - (sum - here);
      block();
      least |= s.found[0] << shift, known |= 255u << shift, lacking = s.found[1];
      block();
    }
  }
  float most = -INFINITY;
#pragma unroll
  for (int i = 0; i < MINE; i++) most = fmaxf(most, logit[i]);
#pragma unroll
  for (int d = 16; d; d /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
  if (lane == 0) s.heaviest[warp][0] = most;
  block();
#pragma unroll
  for (int w = 0; w < WARPS; w++) most = fmaxf(most, s.heaviest[w][0]);
  float best = -INFINITY;
  int code = VOCAB;
#pragma unroll
  for (int i = 0; i < MINE; i++) {
    const int v = tid + i * THREADS;
    if (v >= VOCAB || key[i] < least) continue;
    const float chance = greedy ? logit[i] : expf(logit[i] - most) / p.noise[(row * BOOKS + book) * VOCAB + v];
    if (chance > best || code == VOCAB) best = chance, code = v;
  }
#pragma unroll
  for (int d = 16; d; d /= 2) {
    const float other = __shfl_xor_sync(~0u, best, d);
    const int theirs = __shfl_xor_sync(~0u, code, d);
    if (theirs < VOCAB && (code == VOCAB || other > best || (other == best && theirs < code)))
      best = other, code = theirs;
  }
  block();
  if (lane == 0) s.heaviest[warp][0] = best, s.warp_counts[warp] = code;
  block();
  if (tid == 0) {
    for (int w = 1; w < WARPS; w++) {
      const float other = s.heaviest[w][0];
      const int theirs = s.warp_counts[w];
      if (theirs < VOCAB && (code == VOCAB || other > best || (other == best && theirs < code)))
        best = other, code = theirs;
    }
    long long* place = p.sequence + (row * BOOKS + book) * p.span + p.position + 1;
    if (*place < 0) *place = code;
  }
}
