// Products of activations and weights, eight outputs at a time.
#pragma once

#include "numbers.cuh"
#include "stream.cuh"

// write(row, n, y, y of n + 1) for the outputs n of this block's units: y = sum over k of input[row, k] * W[n, k], plus
// x[row, n] of `turn_of_x` where `Adds`. Warp w takes, and has itself written to `s.input`, the 64 k from 64 w of each
// chunk on, so that products need no barrier with what prepares their input. Where it `Fetches`, the input is what
// other blocks passed on as it is, pairs of halves, which comes in as many parts as shared memory has room for.
template <int K, int N, bool Adds, bool Fetches = false, class Write> __device__ __forceinline__ void product(
    Shared& s, Ring& at, Turn& turn, const Count& count, const u32* x, u32 turn_of_x, Write write,
    const u32* passed = nullptr, u32 turn_of_passed = 0) {
  using C = Cut<K, N>;
  constexpr int OUTPUTS = C::MINE * ROWS * 8, EACH = (OUTPUTS + THREADS - 1) / THREADS;
  constexpr bool PARTLY = Fetches && IN_PARTS;
  // a pass takes some four slots at once, so that waiting for shared memory and for sums overlaps
  constexpr int GROUPS = (C::MINE + C::WIDE - 1) / C::WIDE, DEPTH = PARTLY ? 4 / C::DEEP : 4;
  constexpr int STEPS = GROUPS < DEPTH ? DEPTH / GROUPS : 1, STRIDE = STEPS * C::DEEP;
  constexpr int PART = PARTLY ? STRIDE : (C::CHUNKS + STRIDE - 1) / STRIDE * STRIDE;  // chunks of input at once
  constexpr int PARTS = C::WIDE * C::DEEP;                                          // of a slot
  constexpr int PITCH = (PARTLY ? PART * CHUNK : K) + SKEW, FETCHED = (ROWS * PART + 3) / 4;
  const int tid = thread(), warp = tid / 32, lane = tid % 32, row = lane / 4, t = lane % 4;
  const u16* mine = s.input + row * PITCH + 64 * warp + 8 * t;
  const int mine_of_slot = 1024 * warp + 16 * lane;
  uint4 fetched[Fetches ? FETCHED : 1];
  const auto place = [&](int i) {  // of what is fetched: chunk, row, and k behind the chunk's first
    const int item = 4 * i + lane / 8;
    return make_int3(item % PART, item / PART, 64 * warp + lane % 8 * 8);
  };
  const auto from = [&](int first) {
    return [=](int i) {
      const int3 at = place(i);
      const int k = (first + at.x) * CHUNK + at.z;
      return (ROWS * PART % 4 == 0 || at.y < ROWS) && (K % (PART * CHUNK) == 0 || k < K)
          ? passed + (at.y * K + k) / 2 : nullptr;
    };
  };
  __syncwarp();
  for (int base = turn.first; base < C::UNITS; base += C::STRIDE) {
    constexpr int CHAINS = C::MINE > 4 ? 1 : C::MINE > 2 ? 2 : 4;  // of each unit: an mma waits for the one it adds to
    float sums[C::MINE][CHAINS][4] = {};
    if (Fetches) ask(fetched, from(0));
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
#pragma unroll 1
    for (int first = 0; first < C::CHUNKS; first += STRIDE) {
      const auto has = [&](int i) {
        return (C::CHUNKS % STRIDE == 0 || first + i / GROUPS * C::DEEP < C::CHUNKS)
            && C::has(base, i % GROUPS * C::WIDE);
      };
      const auto inside = [&](int chunk) {
        return K % (STRIDE * CHUNK) == 0 || (first + chunk) * CHUNK + 64 * warp < K;
      };
      if (Fetches && (PARTLY || first == 0)) {
        while (lacking(fetched, from(first), turn_of_passed)) ask(fetched, from(first));
#pragma unroll
        for (int i = 0; i < FETCHED; i++)
          if (from(first)(i)) {
            const int3 at = place(i);
            *(uint4*)(s.input + at.y * PITCH + at.x * CHUNK + at.z) = fetched[i];
          }
        if (PARTLY && first + PART < C::CHUNKS) ask(fetched, from(first + PART));
        __syncwarp();
      }
      uint4 a[STRIDE][2] = {}, w[STEPS * GROUPS][PARTS][2] = {};
#pragma unroll
      for (int c = 0; c < STRIDE; c++)
        if (row < ROWS && inside(c)) {
          const uint4* in = (const uint4*)(mine + (PARTLY ? c : first + c) * CHUNK);
          a[c][0] = in[0], a[c][1] = in[4];
        }
      Ring read = at;
#pragma unroll
      for (int i = 0; i < STEPS * GROUPS; i++)
        if (has(i)) {
          const char* slot = at.here() + mine_of_slot;
          wait(at.full(), at.turn);
#pragma unroll
          for (int j = 0; j < PARTS; j++)
            if (inside(i / GROUPS * C::DEEP + j % C::DEEP))
              w[i][j][0] = *(const uint4*)(slot + j * PIECE), w[i][j][1] = *(const uint4*)(slot + j * PIECE + 512);
          at.next();
        }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < STEPS * GROUPS; i++)
        if (has(i)) {
          if (lane == 0)
            asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(read.empty())) : "memory");
          read.next();
        }
#pragma unroll
      for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int part = 0; part < 4 * C::DEEP; part++)
#pragma unroll
          for (int u = 0; u < C::MINE; u++) {  // where the block lacks it, what comes of it goes unused
            const int c = part / 4, half = part / 2 % 2, end = part % 2;
            const uint4& in = a[step * C::DEEP + c][half];
            const uint4& of = w[step * GROUPS + u / C::WIDE][u % C::WIDE * C::DEEP + c][half];
            float (&sum)[4] = sums[u][CHAINS == 4 ? part % 4 : CHAINS == 2 ? end : 0];
            if (end) mma(sum, in.z, in.w, of.z, of.w); else mma(sum, in.x, in.y, of.x, of.y);
          }
    }
#pragma unroll
    for (int u = 0; u < C::MINE; u++)
#pragma unroll
      for (int c = 1; c < CHAINS; c++) sums[u][0][0] += sums[u][c][0], sums[u][0][1] += sums[u][c][1];
#pragma unroll
    for (int u = 0; u < C::MINE; u++)
      if (row < ROWS) *(float2*)&s.sums[u][warp][row][2 * t] = make_float2(sums[u][0][0], sums[u][0][1]);
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
