// Products of activations and weights, eight outputs at a time.
#pragma once

#include "numbers.cuh"
#include "stream.cuh"

// write(row, n, y, y of n + 1) for the outputs n of this block's units: y = sum over k of input[row, k] * W[n, k], plus
// x[row, n] of `turn_of_x` where `Adds`. Warp w takes, and has itself written to `s.input`, the 64 k from 64 w of each
// chunk on, so that products need no barrier with what prepares their input.
template <int K, int N, bool Adds, class Write> __device__ __forceinline__ void product(
    Shared& s, Ring& at, Turn& turn, const Count& count, const u32* x, u32 turn_of_x, Write write) {
  using C = Cut<K, N>;
  constexpr int OUTPUTS = C::MINE * ROWS * 8, EACH = (OUTPUTS + THREADS - 1) / THREADS;
  const int tid = thread(), warp = tid / 32, lane = tid % 32, row = lane / 4, t = lane % 4;
  const u16* mine = s.input + row * (K + SKEW) + 64 * warp + 8 * t;
  const int mine_of_slot = 1024 * warp + 16 * lane;
  __syncwarp();
  for (int base = turn.first; base < C::UNITS; base += C::STRIDE) {
    constexpr int CHAINS = C::MINE > 4 ? 1 : 2;  // of each unit: an mma waits for the one it adds to
    float sums[C::MINE][CHAINS][4] = {};
    u32 had[EACH] = {};
    const auto output = [&](int e) {  // of this thread: unit, row and n
      const int i = tid + e * THREADS, u = i / (ROWS * 8);
      return make_int4(u, i / 8 % ROWS, (base + u * BLOCKS) * 8 + i % 8, i < OUTPUTS && base + u * BLOCKS < C::UNITS);
    };
    const auto old = [&](int e) {
      const int4 o = output(e);
      return Adds && o.w ? x + o.y * N + o.z : nullptr;
    };
    if (Adds)
#pragma unroll
      for (int e = 0; e < EACH; e++)
        if (old(e)) look(had[e], old(e));  // before it is needed; it is seldom stale
#pragma unroll (C::MINE > 2 ? 1 : 2)
    for (int chunk = 0; chunk < C::CHUNKS; chunk += C::DEEP) {
      uint4 a[C::DEEP][2] = {};
      if (row < ROWS)
#pragma unroll
        for (int c = 0; c < C::DEEP; c++)
          if (K % (C::DEEP * CHUNK) == 0 || (chunk + c) * CHUNK + 64 * warp < K) {
            const uint4* in = (const uint4*)(mine + (chunk + c) * CHUNK);
            a[c][0] = in[0], a[c][1] = in[4];
          }
#pragma unroll
      for (int from = 0; from < C::MINE; from += C::WIDE)
        if (C::has(base, from)) {
          constexpr int PARTS = C::WIDE * C::DEEP;
          uint4 w[PARTS][2] = {};
          const char* slot = at.here() + mine_of_slot;
          wait(at.full(), at.turn);
#pragma unroll
          for (int i = 0; i < PARTS; i++)
            if (K % (C::DEEP * CHUNK) == 0 || (chunk + i % C::DEEP) * CHUNK + 64 * warp < K)
              w[i][0] = *(const uint4*)(slot + i * PIECE), w[i][1] = *(const uint4*)(slot + i * PIECE + 512);
          __syncwarp();
          if (lane == 0)
            asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(at.empty())) : "memory");
          at.next();
#pragma unroll
          for (int half = 0; half < 2; half++)
#pragma unroll
            for (int i = 0; i < PARTS; i++) {
              const int u = from + i / C::DEEP;  // where the block lacks it, what came of an earlier slot goes unused
              const uint4 in = a[i % C::DEEP][half];
              if (u < C::MINE) {
                mma(sums[u][0], in.x, in.y, w[i][half].x, w[i][half].y);
                mma(sums[u][CHAINS - 1], in.z, in.w, w[i][half].z, w[i][half].w);
              }
            }
        }
    }
#pragma unroll
    for (int u = 0; u < C::MINE; u++)
      if (row < ROWS)
        *(float2*)&s.sums[u][warp][row][2 * t] =
            make_float2(sums[u][0][0] + (CHAINS > 1 ? sums[u][CHAINS - 1][0] : 0),
                        sums[u][0][1] + (CHAINS > 1 ? sums[u][CHAINS - 1][1] : 0));
    block();
#pragma unroll
    for (int e = 0; e < EACH; e++) {
      const int4 o = output(e);
      float sum = 0;
      if (o.w) {
        if (Adds) {
          while (stale(had[e], turn_of_x)) look(had[e], old(e));
          sum = __uint_as_float(had[e]);
        }
#pragma unroll
        for (int each = 0; each < WARPS; each++) sum += s.sums[o.x][each][o.y][o.z % 8];
      }
      const float next = __shfl_down_sync(~0u, sum, 1);
      if (o.w) write(o.y, o.z, sum, next);
    }
    block();
  }
  if (turn.first < C::UNITS) count.tell();
  turn.past(C::UNITS);
}
