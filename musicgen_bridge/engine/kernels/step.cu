// One step of the decoder as one persistent kernel: a block on every multiprocessor, for the whole step.
//
// At batch one a step reads every weight once and computes little, so it can take no less than memory takes to deliver
// them; hundreds of small kernels, or a pause at every dependency, leave memory idle most of that time. Here the last
// warp of each block does nothing but stream the block's share of all weights, in the order of their use, into a ring
// of shared memory. It never waits for a result, only for room. The other warps compute a phase at a time, while the
// ring fills with what the next phases need.
//
//   embed | for each layer: qkv | attend | out | queries | values | up | down | ... | heads | draw
//
// `queries` and `values` are cross-attention absorbed into the text, which is fixed for a take: with keys K and values
// V of T tokens, scores = x (Wq^T K) and output = p (V Wo^T), two maps of H * T instead of two of d and a softmax.
//
// What a phase makes is read by all blocks in the next one. No barrier stands between: a barrier would be a fence, an
// atomic and a poll, three trips through a memory that is busy with weights. Instead every 32-bit word that passes from
// block to block carries its turn in its lowest bit, which is the other one each time that the word is written anew, and
// readers poll the words themselves (the bit costs half an ulp of a float32, of every other float16 one). A word is
// never overwritten too early: whoever writes it has read results of everybody who was to read it before.
//
// A product is eight outputs times all of K, a `unit`; block b computes units b, b + blocks, ... of each phase. Rows of
// activations, up to eight, are the M of mma.m16n8k16, so that a batch of eight costs the tensor cores what one does.
// A weight is packed as the operand's registers hold it: [N / 8, K / 32, 32 lanes, 8], where lane 4 g + t has
// W[8 n + g, 32 k + 8 t ... + 7]. (A sum over k may run in any order that both operands share.)
//
// Constants given by the compiler's command line: HIDDEN FFN HEADS LAYERS BOOKS VOCAB BATCH ROWS TEXT BLOCKS MEMORY BF16.
// MEMORY is what a block has of shared memory, in bytes.
// TEXT is 0 for models without cross-attention, else 32 or 64 tokens; rows are BATCH conditioned ones, then null ones.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr int WARPS = 8, THREADS = 32 * WARPS;  // that compute; one warp more streams
constexpr int HEAD = 64;                        // channels
constexpr int MIXED = HEAD / 2 + 4;             // words from one split's result to the next
constexpr int CHUNK = 512;                      // k that the warps share out at once: 64 each
constexpr int PIECE = 16 * CHUNK;               // bytes of a unit's chunk
constexpr int SLOT = 2 * PIECE;                 // bytes of the ring's slots: a chunk of two units, or two of one
#ifndef FLIGHT
#define FLIGHT 2  // slots under way at once: enough for memory's latency; more would queue up before all other reads
#endif
constexpr int PAST = PIECE / (2 * HEAD);        // positions of a slot of keys and values
constexpr int GROUP = 8;                        // units at most that share one pass over the activations
constexpr int SPLITS = BLOCKS < ROWS * HEADS ? 1 : BLOCKS / (ROWS * HEADS);  // blocks that share a row's head
constexpr int NORMS = TEXT ? 3 : 2;
constexpr int min2(int a, int b) { return a < b ? a : b; }
constexpr int SUMS = 1 + NORMS * LAYERS;  // how often a step writes x
constexpr int WIDEST = HIDDEN > FFN ? HIDDEN : FFN;
constexpr int SKEW = 32;  // halves between rows of activations in shared memory, so that they lie in other banks
#define INFINITY __int_as_float(0x7f800000)

struct Step {
  const u64* weights;     // [LAYERS, 4]: qkv, out, up, down
  const u16* heads;       // [BOOKS * VOCAB, HIDDEN]
  const u16* norms;       // [LAYERS * NORMS + 1, 2, HIDDEN]: scale, shift
  const u16* queries;     // [LAYERS, HEADS * TEXT, HIDDEN]
  const u16* values;      // [LAYERS, HIDDEN, HEADS * TEXT]
  const int* texts;       // [ROWS, 2]: the tokens that a row hears, first and one past the last
  const u16* embedding;   // [BOOKS * (VOCAB + 1), HIDDEN]
  const u16* positions;   // [..., HIDDEN]
  const long long* start; // [ROWS]: the first position of a row in the cache
  u16* cache;             // [LAYERS, 2, ROWS, HEADS, length, HEAD]
  long long* sequence;    // [BATCH, BOOKS, span]
  const float* noise;     // [BATCH, BOOKS, VOCAB]

  // what passes from block to block; all zero before the first launch
  u32* x;       // [ROWS, HIDDEN], floats: the residual stream
  u32* fresh;   // [ROWS, 3, HIDDEN], floats: query, key and value of this position
  u32* mixed;   // [ROWS, HEADS, SPLITS, MIXED], pairs of halves, and a float behind them: see `attend`
  u32* scores;  // [ROWS, HEADS * TEXT], floats
  u32* inner;   // [ROWS, FFN / 2], pairs of halves
  u32* logits;  // [ROWS, BOOKS, VOCAB], floats
  u32* count;   // see `Count`
  int launches;  // before this one
  int length, span, position, before, top_k, draws;
  float temperature, guidance;
};

struct Shared {
  u64 weights[LAYERS * 4];
  float stats[WARPS][ROWS][2];
  float sums[GROUP][WARPS][ROWS][8];
  float mixed[WARPS][HEAD];
  float heaviest[WARPS][2];
  u32 counts[256];
  u32 warp_counts[WARPS];
  u32 found[2];
  int start[ROWS], texts[ROWS][2];
  alignas(16) u16 input[ROWS * (WIDEST + SKEW)];
};
constexpr int BEFORE = (sizeof(Shared) + 127) / 128 * 128;  // bytes before the ring
constexpr int RING = (MEMORY - BEFORE) / (SLOT + 16);      // slots, each with two barriers behind the ring
static_assert(RING > 2, "the activations leave no room for weights");

// ---------------------------------------------------------------------------------------------- numbers

__device__ __forceinline__ float2 wide(u32 pair) {
  float2 f;
#if BF16
  f.x = __uint_as_float(pair << 16);
  f.y = __uint_as_float(pair & 0xffff0000u);
#else
  asm("{.reg .f16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b;}" : "=f"(f.x), "=f"(f.y) : "r"(pair));
#endif
  return f;
}

__device__ __forceinline__ float wide1(u16 half) { return wide(half).x; }

__device__ __forceinline__ u32 narrow(float low, float high) {
  u32 pair;
#if BF16
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#else
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#endif
  return pair;
}

// sums[row, 2 t ... + 1] += a[row, 16 k] * w[16 k, output] for a lane's row; rows 8 to 15 are zero
__device__ __forceinline__ void mma(float (&sums)[4], u32 a0, u32 a2, u32 w0, u32 w1) {
#if BF16
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%2,%3};"
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%2,%3};"
#endif
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(a0), "r"(0u), "r"(a2), "r"(w0), "r"(w1));
}

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1 + erff(x * 0.70710678f)); }

__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---------------------------------------------------------------------------------------------- memory and order

// This thread's number, which the compiler can't tell from one use to the next: what it would work out of it before the
// loop over layers, and keep in registers for every phase at once, spills.
__device__ __forceinline__ int thread() {
  int t;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(t));
  return t;
}

__device__ __forceinline__ u32 address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// a barrier of the warps that compute
__device__ __forceinline__ void block() { asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory"); }

// A word for other blocks to read, and back.
__device__ __forceinline__ void pass(u32* to, u32 word, u32 turn) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"((word & ~1u) | (turn & 1)) : "memory");
}
__device__ __forceinline__ void pass(u32* to, float number, u32 turn) { pass(to, __float_as_uint(number), turn); }

__device__ __forceinline__ void look(u32& w, const u32* at) {
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(w) : "l"(at) : "memory");
}
__device__ __forceinline__ void look(uint2& w, const u32* at) {
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];" : "=r"(w.x), "=r"(w.y) : "l"(at) : "memory");
}
__device__ __forceinline__ void look(uint4& w, const u32* at) {
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w) : "l"(at) : "memory");
}
__device__ __forceinline__ u32 stale(u32 w, u32 turn) { return (w ^ turn) & 1; }
__device__ __forceinline__ u32 stale(uint2 w, u32 turn) { return stale(w.x, turn) | stale(w.y, turn); }
__device__ __forceinline__ u32 stale(uint4 w, u32 turn) {
  return stale(w.x, turn) | stale(w.y, turn) | stale(w.z, turn) | stale(w.w, turn);
}

// How many blocks have passed something on, as a hint of when to look: it may be seen before what was passed.
struct Count {
  u32* all;
  u32 awaited;
  __device__ __forceinline__ void tell() const {
    if (threadIdx.x == 0) asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(all) : "memory");
  }
  __device__ __forceinline__ void await(int blocks) {
    awaited += blocks;
    if (threadIdx.x == 0) {
      u32 now;
      do look(now, all);
      while ((int)(now - awaited) < 0);
    }
    block();
  }
};

// Read words[i] from at(i), where at(i) is not null, until all are of this turn.
template <int COUNT, class Word, class At> __device__ __forceinline__ void receive(Word (&words)[COUNT], At at, u32 turn) {
  u32 old;
  do {
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      if (const u32* from = at(i)) look(words[i], from);
    old = 0;
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      if (at(i)) old |= stale(words[i], turn);
  } while (old);
}

__device__ __forceinline__ void wait(u64* barrier, u32 parity) {
  asm volatile(
      "{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again;}"
      ::"r"(address(barrier)), "r"(parity) : "memory");
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

// ---------------------------------------------------------------------------------------------- the stream of weights

__device__ __forceinline__ void bring(u32 slot, const char* from, u32 bytes, u32 full) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               ::"r"(slot), "l"(from), "r"(bytes), "r"(full) : "memory");
}

// How a product of N outputs and K is cut: a block's units, and how many units and chunks share a slot.
template <int K, int N> struct Cut {
  static constexpr int UNITS = N / 8, CHUNKS = (K + CHUNK - 1) / CHUNK;
  static constexpr int EACH = (UNITS + BLOCKS - 1) / BLOCKS, MINE = EACH < GROUP ? EACH : GROUP, STRIDE = MINE * BLOCKS;
  static constexpr int WIDE = MINE < 2 ? 1 : 2, DEEP = WIDE == 2 || CHUNKS == 1 ? 1 : 2;
  // whether a block whose units begin with `base` has the u-th one
  static __device__ __forceinline__ bool has(int base, int u) {
    return u < MINE && (EACH <= GROUP && u < MINE - 1 || base + u * BLOCKS < UNITS);
  }
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
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full), "r"(bytes) : "memory");
    return full;
  }
};

template <int K, int N> __device__ __forceinline__ void send(const u16* weights, Stream& to) {
  using C = Cut<K, N>;
  for (int base = to.turn.first; base < C::UNITS; base += C::STRIDE)
    for (int chunk = 0; chunk < C::CHUNKS; chunk += C::DEEP) {
      const u32 bytes = min(C::DEEP * PIECE, K * 16 - chunk * PIECE);
      for (int from = 0; from < C::MINE && C::has(base, from); from += C::WIDE) {
        const bool two = C::WIDE == 2 && C::has(base, from + 1);
        const char* unit = (const char*)weights + (u64)(base + from * BLOCKS) * K * 16 + chunk * PIECE;
        const u32 full = to.prepare(bytes << two), slot = address(to.at.here());
        bring(slot, unit, bytes, full);
        if (two) bring(slot + PIECE, unit + (u64)BLOCKS * K * 16, bytes, full);
        to.at.next();
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
  const u64 plane = (u64)ROWS * HEADS * p.length * HEAD;
#pragma unroll 1
  for (int item = blockIdx.x; item < ROWS * HEADS * SPLITS; item += BLOCKS) {
    const Span span(p, s, item);
    const u16* keys = p.cache + 2 * layer * plane + (u64)(item / SPLITS) * p.length * HEAD;
#pragma unroll 1
    for (int at = span.from; at < span.past; at += PAST) {
      const u32 bytes = min(PAST, span.past - at) * HEAD * 2, full = to.prepare(2 * bytes), slot = address(to.at.here());
      bring(slot, (const char*)(keys + (u64)at * HEAD), bytes, full);
      bring(slot + PIECE, (const char*)(keys + plane + (u64)at * HEAD), bytes, full);
      to.at.next();
    }
  }
}

__device__ __forceinline__ void stream(const Step& p, const Shared& s, Ring ring) {
  Stream to{ring, ring};
  for (int layer = 0; layer < LAYERS; layer++) {
    const u64* w = s.weights + 4 * layer;
    send<HIDDEN, 3 * HIDDEN>((const u16*)w[0], to);
    send_past(p, s, layer, to);
    send<HIDDEN, HIDDEN>((const u16*)w[1], to);
#if TEXT
    send<HIDDEN, HEADS * TEXT>(p.queries + (u64)layer * HEADS * TEXT * HIDDEN, to);
    send<HEADS * TEXT, HIDDEN>(p.values + (u64)layer * HEADS * TEXT * HIDDEN, to);
#endif
    send<HIDDEN, FFN>((const u16*)w[2], to);
    send<FFN, HIDDEN>((const u16*)w[3], to);
  }
  send<HIDDEN, BOOKS * VOCAB>(p.heads, to);
}

// ---------------------------------------------------------------------------------------------- products

// write(row, n, y, y of n + 1) for the outputs n of this block's units, y = sum over k of input[row, k] * W[n, k], plus
// x[row, n] of `turn_of_x` where `Adds`. Warp w takes, and has itself written to `s.input`, the k from 64 w of each chunk on, 64 of them, so that
// products need no barrier with what prepares their input.
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

// ---------------------------------------------------------------------------------------------- inputs of products

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
  constexpr int PER_WARP = (HEADS + WARPS - 1) / WARPS, ITEMS = ROWS * PER_WARP, AT_ONCE = ITEMS > 16 ? 2 : (ITEMS + 3) / 4;
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
  constexpr int PER_WARP = (FFN + CHUNK - 1) / CHUNK, ITEMS = ROWS * PER_WARP, AT_ONCE = ITEMS > 32 ? 8 : (ITEMS + 3) / 4;
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

// ---------------------------------------------------------------------------------------------- attention

// A block takes (row, head, split) items; a warp takes eight positions of a slot, eight lanes to a position, and keeps a
// running softmax (Milakov and Gimelshein 2018) for each group of eight lanes. What a group has comes first, and this
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
    uint4 words[2];
    receive(words, [&](int i) { return fresh + 4 * i; }, turn);
#pragma unroll
    for (int e = 0; e < 8; e++) a.query[e] = __uint_as_float((&words[0].x)[e]);
#pragma unroll 1
    for (int base = span.from; base < span.past; base += PAST) {
      const uint4* slot = (const uint4*)at.here() + 64 * warp + lane;  // this group's position, and the fourth after it
      wait(at.full(), at.turn);
      const uint4 key[2] = {slot[0], slot[32]};
      const uint4 value[2] = {slot[PIECE / 16], slot[PIECE / 16 + 32]};
      __syncwarp();
      if (lane == 0)
        asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(at.empty())) : "memory");
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
    if (span.from <= here && span.to > here && warp == 0) {  // this position is among the item's: the first group of lanes takes it
      uint4 pairs[2];
#pragma unroll
      for (int which = 0; which < 2; which++) {
        receive(words, [&](int i) { return fresh + (which + 1) * HIDDEN + 4 * i; }, turn);
        const float* f = (const float*)words;
        pairs[which] = make_uint4(narrow(f[0], f[1]), narrow(f[2], f[3]), narrow(f[4], f[5]), narrow(f[6], f[7]));
      }
      const float score = lane < 8 ? a.score(pairs[0]) : (a.score(pairs[0]), -INFINITY);
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

// ---------------------------------------------------------------------------------------------- codes

__device__ void embed(const Step& p, u32 turn) {
  for (int i = blockIdx.x * THREADS + threadIdx.x; i < ROWS * HIDDEN; i += BLOCKS * THREADS) {
    const int row = i / HIDDEN, n = i % HIDDEN, place = max(0, p.before + p.position - (int)p.start[row]);
    float sum = wide1(p.positions[(u64)place * HIDDEN + n]);
    for (int book = 0; book < BOOKS; book++) {
      const long long code = p.sequence[(row % BATCH * BOOKS + book) * p.span + p.position];
      sum += wide1(p.embedding[(code + book * (VOCAB + 1)) * HIDDEN + n]);
    }
    pass(p.x + i, sum, turn);
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

// ---------------------------------------------------------------------------------------------- the step

// Registers are dealt out anew between the warps that compute and the four of the stream, three of which only lend theirs.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define REGISTERS(change, count) asm volatile("setmaxnreg." #change ".sync.aligned.u32 %0;" ::"n"(count))
#else
#define REGISTERS(change, count)
#endif

extern "C" __global__ void __launch_bounds__(THREADS + 128, 1) step(const Step p) {
  extern __shared__ __align__(128) char memory[];
  Shared& s = *(Shared*)memory;
  Ring at{memory + BEFORE};
  for (int i = threadIdx.x; i < LAYERS * 4; i += THREADS + 128) s.weights[i] = p.weights[i];
  if (threadIdx.x < ROWS) {
    s.start[threadIdx.x] = (int)p.start[threadIdx.x];
    s.texts[threadIdx.x][0] = p.texts[2 * threadIdx.x], s.texts[threadIdx.x][1] = p.texts[2 * threadIdx.x + 1];
  }
  if (threadIdx.x == 0) {
    for (Ring i = at; !i.turn; i.next()) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address(i.full())));
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(i.empty())), "r"(WARPS));
    }
    asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();
  if (threadIdx.x >= THREADS) {
    REGISTERS(dec, 40);
    if (threadIdx.x == THREADS) stream(p, s, at);
    return;
  }

  REGISTERS(inc, 232);
  Turn turn;
  const int here = p.before + p.position;
  u32 x = p.launches * SUMS;  // the turn of x, and of what passes once a layer
  u32 lap = p.launches * LAYERS;
  const auto add = [&](int row, int n, float sum, float) { pass(p.x + row * HIDDEN + n, sum, x + 1); };

  // Blocks that have units in a phase tell when they are through with it.
  constexpr int ALL = BLOCKS, TELL_QKV = min2(BLOCKS, 3 * HIDDEN / 8), TELL_ADD = min2(BLOCKS, HIDDEN / 8);
  constexpr int TELL_ITEMS = min2(BLOCKS, ROWS * HEADS * SPLITS), TELL_QUERIES = min2(BLOCKS, HEADS * TEXT / 8);
  constexpr int TELL_UP = min2(BLOCKS, FFN / 8), TELL_HEADS = min2(BLOCKS, BOOKS * VOCAB / 8);
  constexpr int A_LAYER = TELL_QKV + TELL_ITEMS + 2 * TELL_ADD + TELL_UP + (TEXT ? TELL_QUERIES + TELL_ADD : 0);
  Count count{p.count, (u32)p.launches * (ALL + LAYERS * A_LAYER + TELL_HEADS)};
  embed(p, ++x);
  block();
  count.tell();
  count.await(ALL);
#pragma unroll 1
  for (int layer = 0; layer < LAYERS; layer++) {
    lap++;
    if (turn.first < 3 * HIDDEN / 8) normalise(p, s, layer * NORMS, x);
    product<HIDDEN, 3 * HIDDEN, false>(s, at, turn, count, nullptr, 0, [&](int row, int n, float sum, float) {
      if (n < HIDDEN) sum *= 1.44269504f / 8;  // the query, for base 2, over the root of HEAD
      pass(p.fresh + row * 3 * HIDDEN + n, sum, lap);
      if (n >= HIDDEN) {
        const int which = n / HIDDEN - 1, head = n % HIDDEN / HEAD;
        const u64 plane = (u64)((2 * layer + which) * ROWS + row) * HEADS + head;
        p.cache[(plane * p.length + here) * HEAD + n % HEAD] = (u16)narrow(sum, 0);
      }
    });
    count.await(TELL_QKV);
    attend(p, s, at, lap);
    if (blockIdx.x < TELL_ITEMS) count.tell();
    count.await(TELL_ITEMS);
    if (turn.first < HIDDEN / 8) merge(p, s, lap);
    product<HIDDEN, HIDDEN, true>(s, at, turn, count, p.x, x, add);
    count.await(TELL_ADD);
    x++;
#if TEXT
    if (turn.first < HEADS * TEXT / 8) normalise(p, s, layer * NORMS + 1, x);
    product<HIDDEN, HEADS * TEXT, false>(s, at, turn, count, nullptr, 0, [&](int row, int n, float sum, float) {
      pass(p.scores + row * HEADS * TEXT + n, sum, lap);
    });
    count.await(TELL_QUERIES);
    if (turn.first < HIDDEN / 8) listen(p, s, lap);
    product<HEADS * TEXT, HIDDEN, true>(s, at, turn, count, p.x, x, add);
    count.await(TELL_ADD);
    x++;
#endif
    if (turn.first < FFN / 8) normalise(p, s, layer * NORMS + NORMS - 1, x);
    product<HIDDEN, FFN, false>(s, at, turn, count, nullptr, 0, [&](int row, int n, float sum, float next) {
      if (n % 2 == 0) pass(p.inner + (row * FFN + n) / 2, narrow(gelu(sum), gelu(next)), lap);
    });
    count.await(TELL_UP);
    if (turn.first < HIDDEN / 8) fetch(p, s, lap);
    product<FFN, HIDDEN, true>(s, at, turn, count, p.x, x, add);
    count.await(TELL_ADD);
    x++;
  }
  if (turn.first < BOOKS * VOCAB / 8) normalise(p, s, LAYERS * NORMS, x);
  product<HIDDEN, BOOKS * VOCAB, false>(s, at, turn, count, nullptr, 0, [&](int row, int n, float sum, float) {
    pass(p.logits + row * BOOKS * VOCAB + n, sum, p.launches + 1);
  });
  count.await(TELL_HEADS);
  if (!p.draws) return;
  for (int i = blockIdx.x; i < BATCH * BOOKS; i += BLOCKS) {
    draw(p, s, i / BOOKS, i % BOOKS);
    block();
  }
}
