// What products take in: activations of all rows, which go straight from where other blocks passed them on to the
// registers of the tensor cores' operand.
#pragma once

#include "numbers.cuh"
#include "words.cuh"

// Which part of an operand a thread holds: of eight rows one, of which those that are too many repeat the others.
struct Lane {
  const int tid = thread(), warp = tid / 32, group = tid % 32 / 4, t = tid % 4, row = group % ROWS;
};

// Of activations [ROWS, K] a lane holds, for its row and each chunk, eight k from `k` on and the eight 32 behind them.
template <int K> struct Operand {
  static constexpr int CHUNKS = (K + CHUNK - 1) / CHUNK;
  uint4 of[2 * CHUNKS];

  static __device__ __forceinline__ int k(const Lane& l, int chunk) { return chunk * CHUNK + l.warp * 64 + l.t * 8; }
  // whether the lane's warp has a part of a chunk
  static __device__ __forceinline__ bool inside(const Lane& l, int chunk) { return K % CHUNK == 0 || k(l, chunk) < K; }
};

// Pairs of halves [ROWS, K / 2] as they are; of a wide one some chunks are asked for while those before are computed.
template <int K> struct Halves {
  static constexpr int AHEAD = 8;  // chunks
  const u32* words;
  u32 turn;

  // where the words of chunks [first, past) lie
  __device__ __forceinline__ auto part(const Lane& l, int first, int past) const {
    return [=, words = words + (l.row * K + Operand<K>::k(l, 0)) / 2](int i) -> const u32* {
      const int chunk = i / 2;
      const bool asked = chunk >= first && chunk < past && Operand<K>::inside(l, chunk);
      return asked ? words + chunk * CHUNK / 2 + i % 2 * 16 : nullptr;
    };
  }
  __device__ __forceinline__ void begin(const Lane& l, Operand<K>& a) const {
#pragma unroll
    for (uint4& each : a.of) each = uint4{};
    ask(a.of, part(l, 0, AHEAD));
  }
  __device__ __forceinline__ void await(const Lane& l, Operand<K>& a, int first, int past) const {
    while (lacking(a.of, part(l, first, past), turn)) ask(a.of, part(l, first, past));
  }
  __device__ __forceinline__ void through(const Lane& l, Operand<K>& a, int first, int past) const {
    ask(a.of, part(l, first + AHEAD, past + AHEAD));
  }
};

// What comes as a whole.
template <int K> struct Whole {
  __device__ __forceinline__ void await(const Lane&, Operand<K>&, int, int) const {}
  __device__ __forceinline__ void through(const Lane&, Operand<K>&, int, int) const {}
};

// what the splits of each head attended to, weighed into one
struct Merged : Whole<HIDDEN> {
  const u32* mixed;
  u32 turn;
  __device__ Merged(const u32* mixed, u32 turn) : mixed(mixed), turn(turn) {}

  __device__ __forceinline__ void begin(const Lane& l, Operand<HIDDEN>& a) const {
    constexpr int CHUNKS = Operand<HIDDEN>::CHUNKS;
    const auto inside = [&](int chunk) { return Operand<HIDDEN>::inside(l, chunk); };
    const u32* mine = mixed + (l.row * HEADS + l.warp) * SPLITS * MIXED;  // a chunk of a warp is a head
    const auto split = [&](int i) { return mine + (i / SPLITS * WARPS * SPLITS + i % SPLITS) * MIXED; };
    const auto pairs = [&](int i) { return inside(i / 2 / SPLITS) ? split(i / 2) + 4 * l.t + i % 2 * 16 : nullptr; };
    const auto weights = [&](int i) { return SPLITS > 1 && inside(i / SPLITS) ? split(i) + HEAD / 2 : nullptr; };
    uint4 words[CHUNKS * SPLITS * 2] = {};
    u32 weight[CHUNKS * SPLITS] = {};
    do ask(words, pairs), ask(weight, weights);
    while (lacking(words, pairs, turn) | lacking(weight, weights, turn));
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      float most = -INFINITY, sum = 0, share[SPLITS];
#pragma unroll
      for (int j = 0; j < SPLITS; j++) most = fmaxf(most, __uint_as_float(weight[chunk * SPLITS + j]));
#pragma unroll
      for (int j = 0; j < SPLITS; j++)
        sum += share[j] = power(__uint_as_float(weight[chunk * SPLITS + j]) - most);
      const float whole = 1 / sum;
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint4& to = a.of[2 * chunk + half];
        to = words[chunk * SPLITS * 2 + half];
        if (SPLITS == 1) continue;
#pragma unroll
        for (int e = 0; e < 4; e++) {
          float2 out = {};
#pragma unroll
          for (int j = 0; j < SPLITS; j++) {
            const float2 f = wide((&words[(chunk * SPLITS + j) * 2 + half].x)[e]);
            out.x += share[j] * f.x, out.y += share[j] * f.y;
          }
          (&to.x)[e] = narrow(out.x * whole, out.y * whole);
        }
      }
    }
  }
};

#if TEXT
// each head's softmax, of base-2 scores, over the tokens that the row hears; null rows hear none, and over none it is 0
struct Heard : Whole<HEADS * TEXT> {
  const Shared& s;
  const u32* scores;
  u32 turn;
  __device__ Heard(const Shared& s, const u32* scores, u32 turn) : s(s), scores(scores), turn(turn) {}

  __device__ __forceinline__ void begin(const Lane& l, Operand<HEADS * TEXT>& a) const {
    using A = Operand<HEADS * TEXT>;
    constexpr int OF_HEAD = TEXT / 4;  // of a lane
    const u32* mine = scores + l.row % BATCH * HEADS * TEXT + A::k(l, 0);
    uint4 words[4 * A::CHUNKS] = {};  // of a chunk eight scores, and the eight 32 behind
    receive(words, [&](int i) {
      return A::inside(l, i / 4) ? mine + i / 4 * CHUNK + i % 4 / 2 * 32 + i % 2 * 4 : nullptr;
    }, turn);
    const int first = s.rows[l.row][0], past = l.row < BATCH ? s.rows[l.row][1] : 0;
    float hears[OF_HEAD];
#pragma unroll
    for (int e = 0; e < OF_HEAD; e++) {
      const int token = 8 * l.t + e % 8 + e / 8 * 32;
      hears[e] = token >= first && token < past ? 0 : -INFINITY;
    }
#pragma unroll
    for (int head = 0; head < A::CHUNKS * 16 / OF_HEAD; head++) {
      float score[OF_HEAD], most = -1e30f, sum = 0;
#pragma unroll
      for (int e = 0; e < OF_HEAD; e++) {
        const int i = head * OF_HEAD + e;
        score[e] = __uint_as_float((&words[i / 4].x)[i % 4]) + hears[e];
        most = fmaxf(most, score[e]);
      }
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
#pragma unroll
      for (int e = 0; e < OF_HEAD; e++) sum += score[e] = power(score[e] - most);
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      const float f = sum > 0 ? 1 / sum : 0;
#pragma unroll
      for (int e = 0; e < OF_HEAD; e += 2)
        (&a.of[(head * OF_HEAD + e) / 8].x)[e % 8 / 2] = narrow(score[e] * f, score[e + 1] * f);
    }
  }
};
#endif
