// Attention of the new position to those before it and to itself.
#pragma once

#include "numbers.cuh"
#include "stream.cuh"

// A block takes (row, head, split) items; a warp takes eight positions of a slot, eight lanes to a position, and keeps
// a running softmax (Milakov and Gimelshein 2018) for each group of eight lanes. What a group has comes first, and this
// position, which other blocks have just computed, last.
struct Attention {
  float query[8], out[8] = {}, most = -INFINITY, sum = 0;

  __device__ __forceinline__ float score(const uint4& key) const {
    const u32* pair = &key.x;
    float dot = 0;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const float2 f = wide(pair[e]);
      dot += query[2 * e] * f.x + query[2 * e + 1] * f.y;
    }
#pragma unroll
    for (int d = 4; d; d /= 2) dot += __shfl_xor_sync(~0u, dot, d);
    return dot;
  }
  __device__ __forceinline__ void fade(float top) {
    const float f = top > -INFINITY ? power(most - top) : 0;
    sum *= f;
#pragma unroll
    for (int e = 0; e < 8; e++) out[e] *= f;
    most = top;
  }
  __device__ __forceinline__ void add(float score, const uint4& value) {
    const float w = most > -INFINITY ? power(score - most) : 0;
    const u32* pair = &value.x;
    sum += w;
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const float2 f = wide(pair[e]);
      out[2 * e] += w * f.x, out[2 * e + 1] += w * f.y;
    }
  }
};

__device__ __forceinline__ void attend(const Step& p, Shared& s, Ring& at, u32 turn) {
  const int tid = thread(), warp = tid / 32, lane = tid % 32, part = lane % 8;
  for (int item = blockIdx.x; item < ROWS * HEADS * SPLITS; item += BLOCKS) {
    const int head = item / SPLITS, here = p.before + p.position;  // head of all rows' heads
    const Span span(p, s, item);
    Attention a;
    const u32* fresh = p.fresh + head / HEADS * 3 * HIDDEN + head % HEADS * HEAD + part * 8;
    const bool news = warp == 0 && span.from <= here && span.to > here;  // this position is the item's
    uint4 words[6];  // of the query, and of this position's key and value
    receive(words, [&](int i) { return i < 2 || news ? fresh + i / 2 * HIDDEN + i % 2 * 4 : nullptr; }, turn);
#pragma unroll
    for (int e = 0; e < 8; e++) a.query[e] = __uint_as_float((&words[0].x)[e]);
#pragma unroll 1
    for (int base = span.from; base < span.past; base += PAST) {
      const uint4* slot = (const uint4*)at.here() + 64 * warp + lane;  // this group's position, and the fourth after it
      wait(at.full(), at.turn);
      const uint4 key[2] = {slot[0], slot[32]};
      const uint4 value[2] = {slot[KEYS / 16], slot[KEYS / 16 + 32]};
      __syncwarp();
      if (lane == 0) arrive(at.empty());
      at.next();
      float score[2];
#pragma unroll
      for (int j = 0; j < 2; j++) {
        score[j] = a.score(key[j]);
        if (base + 8 * warp + 4 * j + lane / 8 >= span.past) score[j] = -INFINITY;  // the slot holds something older
      }
      a.fade(fmaxf(a.most, fmaxf(score[0], score[1])));
#pragma unroll
      for (int j = 0; j < 2; j++) if (score[j] > -INFINITY) a.add(score[j], value[j]);
    }
    if (news) {  // the first group's
      uint4 pairs[2];
#pragma unroll
      for (int which = 0; which < 2; which++) {
        const float* f = (const float*)(words + 2 + 2 * which);
        pairs[which] = make_uint4(narrow(f[0], f[1]), narrow(f[2], f[3]), narrow(f[4], f[5]), narrow(f[6], f[7]));
      }
      const float dot = a.score(pairs[0]), score = lane < 8 ? dot : -INFINITY;
      a.fade(fmaxf(a.most, score));
      a.add(score, pairs[1]);
    }
    // the four groups of a warp, then the warps
    float top = fmaxf(a.most, __shfl_xor_sync(~0u, a.most, 8));
    a.fade(fmaxf(top, __shfl_xor_sync(~0u, top, 16)));
#pragma unroll
    for (int d = 8; d < 32; d *= 2) a.sum += __shfl_xor_sync(~0u, a.sum, d);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      a.out[e] += __shfl_xor_sync(~0u, a.out[e], 8);
      a.out[e] += __shfl_xor_sync(~0u, a.out[e], 16);
    }
    if (lane < 8) {
      *(float4*)&s.mixed[warp][part * 8] = *(float4*)a.out;
      *(float4*)&s.mixed[warp][part * 8 + 4] = *(float4*)(a.out + 4);
    }
    if (lane == 0) s.heaviest[warp][0] = a.most, s.heaviest[warp][1] = a.sum;
    block();
    if (warp == 0) {
      float2 total = {};
      float all = -INFINITY, norm = 0;
#pragma unroll
      for (int w = 0; w < WARPS; w++) all = fmaxf(all, s.heaviest[w][0]);
      if (all > -INFINITY)
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
          const float f = power(s.heaviest[w][0] - all);
          const float2 mixed = *(float2*)&s.mixed[w][2 * lane];
          norm += f * s.heaviest[w][1];
          total.x += f * mixed.x, total.y += f * mixed.y;
        }
      const float f = norm > 0 ? 1 / norm : 0;
      pass(p.mixed + item * MIXED + lane, narrow(total.x * f, total.y * f), turn);
      // the base-2 logarithm of the split's sum; here, so that not all blocks read one line of memory
      if (lane == 0) pass(p.mixed + item * MIXED + HEAD / 2, norm > 0 ? all + __log2f(norm) : -1e30f, turn);
    }
    if (item + BLOCKS < ROWS * HEADS * SPLITS) block();
  }
}
