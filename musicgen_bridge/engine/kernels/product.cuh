// Products of activations and weights, eight outputs at a time.
#pragma once

#include "inputs.cuh"
#include "stream.cuh"

// The outputs of a block's units that a thread writes.
template <int N> struct Mine {
  using C = Share<N>;
  static constexpr int ALL = C::MINE * ROWS * 8, EACH = (ALL + THREADS - 1) / THREADS;
  int tid, base;
  __device__ __forceinline__ int unit(int e) const { return (tid + e * THREADS) / (ROWS * 8); }
  __device__ __forceinline__ int row(int e) const { return (tid + e * THREADS) / 8 % ROWS; }
  __device__ __forceinline__ int n(int e) const { return (base + unit(e) * BLOCKS) * 8 + tid % 8; }
  __device__ __forceinline__ bool has(int e) const {
    return (ALL % THREADS == 0 || tid + e * THREADS < ALL) && base + unit(e) * BLOCKS < C::UNITS;
  }
};

// What becomes of a product's sums: they are added to x, as which they are written anew,
template <int N> struct Added {
  static constexpr bool NORMED = false;
  const u32* x;
  u32 turn, had[Mine<N>::EACH];
  __device__ Added(const u32* x, u32 turn) : x(x), turn(turn) {}
  __device__ __forceinline__ const u32* at(const Mine<N>& mine, int e) const {
    return x + mine.row(e) * N + mine.n(e);
  }
  __device__ __forceinline__ void begin(const Mine<N>& mine, bool) {
    ask(had, [&](int e) { return mine.has(e) ? at(mine, e) : nullptr; });  // early; it is seldom stale
  }
  __device__ __forceinline__ float operator()(const Shared&, const Mine<N>& mine, int e, float sum) {
    while (stale(had[e], turn)) look(had[e], at(mine, e));
    return sum + __uint_as_float(had[e]);
  }
};

// or the input is a layer norm's. It comes as it was before the norm, of which the scale is in W and the shift in b:
// W (x - mean) / deviation + b = (W x - mean * W 1) / deviation + b. `fold` has W 1 and b.
template <int K, int N> struct Normed {
  static constexpr bool NORMED = true;
  const float2* fold;
  float2 of[Mine<N>::EACH];
  // made before the wait for the input, since the fold is far away
  __device__ __forceinline__ Normed(const float2* fold, const Turn& turn) : fold(fold) { read({thread(), turn.first}); }
  __device__ __forceinline__ void read(const Mine<N>& mine) {
#pragma unroll
    for (int e = 0; e < Mine<N>::EACH; e++)
      if (mine.has(e))
        asm volatile("ld.global.nc.v2.f32 {%0, %1}, [%2];" : "=f"(of[e].x), "=f"(of[e].y) : "l"(fold + mine.n(e)));
  }
  __device__ __forceinline__ void begin(const Mine<N>& mine, bool again) {
    if (again) read(mine);
  }
  __device__ __forceinline__ float operator()(const Shared& s, const Mine<N>& mine, int e, float sum) {
    float2 all = {};  // of x and of its squares
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      const float2 each = s.moments[w][mine.row(e)];
      all.x += each.x, all.y += each.y;
    }
    const float mean = all.x / K, variance = fmaxf(all.y / K - mean * mean, 0.f);
    return (sum - mean * of[e].x) * rsqrtf(variance + 1e-5f) + of[e].y;
  }
};

// write(row, n, y, y of n + 1) for the outputs n of this block's units: y is what `outcome` makes of the sum over k of
// input[row, k] * W[n, k]. Warp w takes the 64 k from 64 w of each chunk on.
template <int K, int N, int BRICK, class Input, class Outcome, class Write> __device__ __forceinline__ void product(
    Shared& s, Ring& at, Turn& turn, const Count& count, const Input& input, Outcome outcome, Write write) {
  using C = Cut<K, N, BRICK>;
  constexpr int GROUPS = (C::MINE + C::WIDE - 1) / C::WIDE, PARTS = C::WIDE * C::DEEP;  // slots of a chunk, its parts
  // some eight bricks at once, so that waiting for shared memory and for sums overlaps
  constexpr int AT_ONCE = 8 / PARTS, SLOTS = GROUPS < AT_ONCE ? AT_ONCE / GROUPS * GROUPS : GROUPS;
  constexpr int STRIDE = SLOTS / GROUPS * C::DEEP;
  constexpr int CHAINS = C::MINE > 2 ? 2 : 4;  // of each unit: an mma waits for the one it adds to
  const Lane l;
  for (int base = turn.first; base < C::UNITS; base += C::STRIDE) {
    float sums[C::MINE][CHAINS][4] = {}, moments[4] = {};
    Operand<K> a;
    const Mine<N> mine{l.tid, base};
    input.begin(l, a);
    outcome.begin(mine, base != turn.first);
#pragma unroll
    for (int first = 0; first < C::CHUNKS; first += STRIDE) {
      const int past = first + STRIDE < C::CHUNKS ? first + STRIDE : C::CHUNKS;
      Weights<BRICK> w[SLOTS][PARTS] = {};
      const auto has = [&](int i) {
        return first + i / GROUPS * C::DEEP < C::CHUNKS && C::has(base, i % GROUPS * C::WIDE);
      };
      input.await(l, a, first, past);
      Ring read = at;
#pragma unroll
      for (int i = 0; i < SLOTS; i++)
        if (has(i)) {
          const char* slot = at.here() + BRICK * l.warp;
          wait(at.full(), at.turn);
#pragma unroll
          for (int j = 0; j < PARTS; j++) {
            const int chunk = first + i / GROUPS * C::DEEP + j % C::DEEP;
            if (chunk < C::CHUNKS && Operand<K>::inside(l, chunk)) w[i][j].load(slot + j * C::PIECE, l.tid % 32);
          }
          at.next();
        }
      __syncwarp();
#pragma unroll
      for (int i = 0; i < SLOTS; i++)
        if (has(i)) {
          if (l.tid % 32 == 0) arrive(read.empty());
          read.next();
        }
#pragma unroll
      for (int i = 0; i < 2 * STRIDE; i++) {
        const int chunk = i / 2, half = i % 2;
        if (first + chunk >= past) continue;
        const uint4& in = a.of[2 * (first + chunk) + half];
        if (Outcome::NORMED) {
          mma(moments, make_uint4(in.x, ONES, in.y, ONES), in.x, in.y);
          mma(moments, make_uint4(in.z, ONES, in.w, ONES), in.z, in.w);
        }
#pragma unroll
        for (int u = 0; u < C::MINE; u++) {  // where the block lacks it, what comes of it goes unused
          const uint4 of = w[chunk / C::DEEP * GROUPS + u / C::WIDE][u % C::WIDE * C::DEEP + chunk % C::DEEP][half];
          mma(sums[u][2 * half % CHAINS], of, in.x, in.y);
          mma(sums[u][2 * half % CHAINS + 1], of, in.z, in.w);
        }
      }
      input.through(l, a, first, past);
    }
#pragma unroll
    for (int u = 0; u < C::MINE; u++) {
      float2 sum = {};
#pragma unroll
      for (int c = 0; c < CHAINS; c++) sum.x += sums[u][c][c % 2 * 2], sum.y += sums[u][c][c % 2 * 2 + 1];
      if (2 * l.t < ROWS) *(float2*)&s.sums[u][l.warp][l.group][2 * l.t] = sum;
    }
    if (Outcome::NORMED && l.group < ROWS && l.t == l.row / 2)  // the lane whose column is its row
      s.moments[l.warp][l.row] = l.row % 2 ? make_float2(moments[3], moments[1]) : make_float2(moments[2], moments[0]);
    block();
#pragma unroll
    for (int e = 0; e < Mine<N>::EACH; e++) {
      float sum = 0;
      if (mine.has(e)) {
#pragma unroll
        for (int each = 0; each < WARPS; each++) sum += s.sums[mine.unit(e)][each][l.tid % 8][mine.row(e)];
        sum = outcome(s, mine, e, sum);
      }
      const float next = __shfl_down_sync(~0u, sum, 1);
      if (mine.has(e)) write(mine.row(e), mine.n(e), sum, next);
    }
    if (base + C::STRIDE < C::UNITS) block();  // the wait for the next phase is one otherwise
  }
  if (turn.first < C::UNITS) count.tell();
  turn.past(C::UNITS);
}
