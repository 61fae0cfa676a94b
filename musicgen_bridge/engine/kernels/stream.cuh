// The ring of shared memory, and the warp that fills it with weights, keys and values in the order of their use.
#pragma once

#include "words.cuh"

// Since Hopper a thread has a unit of the multiprocessor copy whole pieces; before, a warp's lanes copy 16 bytes each.
#if __CUDA_ARCH__ >= 900
#define WAIT "mbarrier.try_wait.parity.shared::cta.b64"
constexpr int SENDERS = 1;  // threads, of which each tells a slot's barrier that what it brings is there
#else
#define WAIT "mbarrier.test_wait.parity.shared.b64"
constexpr int SENDERS = 32;
#endif

__device__ __forceinline__ void ready(u64* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address(barrier)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void wait(u64* barrier, u32 parity) {
  asm volatile("{.reg .pred done; again: " WAIT " done, [%0], %1; @!done bra again;}"
               ::"r"(address(barrier)), "r"(parity) : "memory");
}

__device__ __forceinline__ void arrive(u64* barrier) {
  asm volatile("{.reg .b64 state; mbarrier.arrive.shared.b64 state, [%0];}" ::"r"(address(barrier)) : "memory");
}

struct Ring {
  char* slots;
  int slot = 0;
  u32 turn = 0;
  __device__ __forceinline__ char* here() const { return slots + slot * SLOT; }
  __device__ __forceinline__ u64* full() const { return (u64*)(slots + RING * SLOT) + slot; }
  __device__ __forceinline__ u64* empty() const { return full() + RING; }
  __device__ __forceinline__ void next() {
    if (++slot == RING) slot = 0, turn ^= 1;
  }
};

// The first unit of this block in each phase: turned, so that blocks with a unit more in one phase have one less later.
struct Turn {
  int first = blockIdx.x;
  __device__ __forceinline__ void past(int units) {
    first -= units % BLOCKS;
    if (first < 0) first += BLOCKS;
  }
};

__device__ __forceinline__ void bring(u32 slot, const char* from, u32 bytes, u32 full) {
  u64 once;  // the weights would drive what blocks pass to each other out of the cache
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(once));
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
      ::"r"(slot), "l"(from), "r"(bytes), "r"(full), "l"(once) : "memory");
#else
#pragma unroll 8
  for (u32 i = threadIdx.x % 32 * 16; i < bytes; i += 32 * 16)
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;"
                 ::"r"(slot + i), "l"(from + i), "l"(once) : "memory");
#endif
}

constexpr int least(int a, int b) { return a < b ? a : b; }

// A block's units of N outputs.
template <int N> struct Share {
  static constexpr int UNITS = N / 8, EACH = (UNITS + BLOCKS - 1) / BLOCKS;
  static constexpr int MINE = least(EACH, GROUP), STRIDE = MINE * BLOCKS;
  // whether a block whose units begin with `base` has the u-th one
  static __device__ __forceinline__ bool has(int base, int u) {
    return u < MINE && (EACH <= GROUP && u < MINE - 1 || base + u * BLOCKS < UNITS);
  }
};

// How their weights over K are cut: bytes of a unit and of its chunk, and how many units and chunks share a slot.
template <int K, int N, int BRICK> struct Cut : Share<N> {
  static constexpr int CHUNKS = (K + CHUNK - 1) / CHUNK, UNIT = K / 64 * BRICK, PIECE = 8 * BRICK;
  static constexpr int WIDE = least(Share<N>::MINE, SLOT / PIECE), DEEP = least(CHUNKS, SLOT / PIECE / WIDE);
};

struct Stream {
  Ring at, awaited;  // the slot to send next, and the one that must have come before it
  Turn turn;
  int sent = 0;

  // Wait until there is room for the next slot, and until not too many are under way; return the barrier it will fill.
  __device__ __forceinline__ u32 prepare(u32 bytes) {
    const u32 full = address(at.full());
    wait(at.empty(), at.turn ^ 1);
    if (sent++ >= FLIGHT) {
      wait(awaited.full(), awaited.turn);
      awaited.next();
    }
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full), "r"(bytes) : "memory");
#endif
    return full;
  }
  // Go to the next slot once this one's pieces are on their way.
  __device__ __forceinline__ void next(u32 full) {
#if __CUDA_ARCH__ < 900
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(full) : "memory");
#endif
    at.next();
  }
};

template <int K, int N, int BRICK> __device__ __forceinline__ void send(const void* weights, Stream& to) {
  using C = Cut<K, N, BRICK>;
#pragma unroll 1
  for (int base = to.turn.first; base < C::UNITS; base += C::STRIDE)
#pragma unroll 1
    for (int chunk = 0; chunk < C::CHUNKS; chunk += C::DEEP) {
      const u32 bytes = min(C::DEEP * C::PIECE, C::UNIT - chunk * C::PIECE);
#pragma unroll 1
      for (int from = 0; from < C::MINE && C::has(base, from); from += C::WIDE) {
        int units = 0;
#pragma unroll
        for (int u = 0; u < C::WIDE; u++) units += C::has(base, from + u);
        const char* unit = (const char*)weights + (u64)(base + from * BLOCKS) * C::UNIT + chunk * C::PIECE;
        const u32 full = to.prepare(bytes * units), slot = address(to.at.here());
#pragma unroll
        for (int u = 0; u < C::WIDE; u++)
          if (u < units) bring(slot + u * C::DEEP * C::PIECE, unit + (u64)u * BLOCKS * C::UNIT, bytes, full);
        to.next(full);
      }
    }
  to.turn.past(C::UNITS);
}

// the positions of an item: [from, to), of which those before `past` are of earlier steps
struct Span {
  int from, to, past;
  __device__ Span(const Step& p, const Shared& s, int item) {
    const int first = s.start[item / (HEADS * SPLITS)], end = p.before + p.position + 1;
    const int share = (end - first + SPLITS - 1) / SPLITS;
    from = first + item % SPLITS * share, to = min(from + share, end), past = min(to, end - 1);
  }
};

// The keys and values of the positions before this one: a slot holds 64 keys, then their values.
__device__ __forceinline__ void send_past(const Step& p, const Shared& s, int layer, Stream& to) {
  const u64 plane = (u64)p.cached * HEADS * p.length * HEAD;
#pragma unroll 1
  for (int item = blockIdx.x; item < ROWS * HEADS * SPLITS; item += BLOCKS) {
    const Span span(p, s, item);
    const int head = item / SPLITS;  // of all rows' heads
    const u16* keys = p.cache + 2 * layer * plane
        + ((u64)s.rows[head / HEADS][2] * HEADS + head % HEADS) * p.length * HEAD;
#pragma unroll 1
    for (int at = span.from; at < span.past; at += PAST) {
      const u32 bytes = min(PAST, span.past - at) * HEAD * 2;
      const u32 full = to.prepare(2 * bytes), slot = address(to.at.here());
      bring(slot, (const char*)(keys + (u64)at * HEAD), bytes, full);
      bring(slot + KEYS, (const char*)(keys + plane + (u64)at * HEAD), bytes, full);
      to.next(full);
    }
  }
}

__device__ __forceinline__ void stream(const Step& p, const Shared& s, Ring ring) {
  Stream to{ring, ring};
#pragma unroll 1
  for (int layer = 0; layer < LAYERS; layer++) {
    const u64* w = s.weights + 4 * layer;
    send<HIDDEN, 3 * HIDDEN, BRICK>((const void*)w[0], to);
    send_past(p, s, layer, to);
    send<HIDDEN, HIDDEN, BRICK>((const void*)w[1], to);
#if TEXT
    send<HIDDEN, HEADS * TEXT, IN_HALVES>(p.queries + (u64)layer * HEADS * TEXT * HIDDEN, to);
    send<HEADS * TEXT, HIDDEN, IN_HALVES>(p.values + (u64)layer * HEADS * TEXT * HIDDEN, to);
#endif
    send<HIDDEN, FFN, BRICK>((const void*)w[2], to);
    send<FFN, HIDDEN, BRICK>((const void*)w[3], to);
  }
  send<HIDDEN, BOOKS * VOCAB, BRICK>(p.heads, to);
}
