// One step of the decoder as one persistent kernel: a block on every multiprocessor, for the whole step.
//
// At batch one a step reads every weight once and computes little, so it can take no less than memory takes to deliver
// them; hundreds of small kernels, or a pause at every dependency, leave memory idle most of that time. Here the last
// warp of each block does nothing but stream the block's share of all weights, in the order of their use, into a ring
// of shared memory. It never waits for a result, only for room. The other warps compute: a phase at a time, with a
// barrier over the whole device between phases, while the ring fills with what the next phases need.
//
//   embed | for each layer: qkv | attend | out | queries | values | up | down | ... | heads | draw
//
// `queries` and `values` are cross-attention absorbed into the text, which is fixed for a take: with keys K and values
// V of T tokens, scores = x (Wq^T K) and output = p (V Wo^T), two maps of H * T instead of two of d and a softmax.
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
constexpr int STAGE = 8192;                     // bytes of the ring's slots: 16 blocks of 32 k of a unit
constexpr int GROUP = 8;                        // units at most that share one pass over the activations
constexpr int HALVES = 2;                       // of a block, each with items of attention of its own
constexpr int group(int units) {
  return (units + BLOCKS - 1) / BLOCKS < GROUP ? (units + BLOCKS - 1) / BLOCKS : GROUP;
}
constexpr int SPLITS = BLOCKS * HALVES < ROWS * HEADS ? 1 : BLOCKS * HALVES / (ROWS * HEADS);
constexpr int NORMS = TEXT ? 3 : 2;
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
  float* x;               // [ROWS, HIDDEN], the residual stream
  float* query;           // [ROWS, HIDDEN]
  u16* mixed;             // [ROWS, HEADS, SPLITS, HEAD]
  float* weight;          // [ROWS, HEADS, SPLITS], base-2 logarithms of the splits' sums
  float* scores;          // [ROWS, HEADS * TEXT]
  u16* inner;             // [ROWS, FFN]
  float* logits;          // [ROWS, BOOKS, VOCAB]
  u32* arrived;
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
  alignas(16) u16 input[ROWS * (WIDEST + SKEW)];
};
constexpr int BEFORE = (sizeof(Shared) + 127) / 128 * 128;  // bytes before the ring
constexpr int RING = (MEMORY - BEFORE) / (STAGE + 16);      // slots, each with two barriers behind the ring
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

// sum[row, 2 n + 0 ... 1] += a[row, 16 k] * b[16 k, n]; rows 8 to 15 of the operand are zero
__device__ __forceinline__ void mma(float (&sum)[4], u32 a0, u32 a2, u32 b0, u32 b1) {
#if BF16
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%2,%3};"
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%5}, {%7,%8}, {%0,%1,%2,%3};"
#endif
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]) : "r"(a0), "r"(0u), "r"(a2), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---------------------------------------------------------------------------------------------- memory and order

template <class T> __device__ __forceinline__ T read(const T* p) { return __ldcg(p); }  // what other blocks wrote

__device__ __forceinline__ u32 address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void together(int which, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(which), "r"(threads) : "memory");
}
__device__ __forceinline__ void block() { together(1, THREADS); }

// Every block's writes before it are read by every block after it. The count's sign turns when all have arrived.
__device__ __forceinline__ void device(u32* arrived) {
  block();
  if (threadIdx.x == 0) {
    u32 add = blockIdx.x == 0 ? 0x80000000u - (BLOCKS - 1) : 1, old, now;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(arrived), "r"(add) : "memory");
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(arrived) : "memory");
    while (!((old ^ now) & 0x80000000u));
  }
  block();
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
  __device__ __forceinline__ char* here() const { return slots + slot * STAGE; }
  __device__ __forceinline__ u64* full() const { return (u64*)(slots + RING * STAGE) + slot; }
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

template <int K, int N> __device__ void send(const u16* weights, Ring& at, Turn& turn) {
  constexpr int UNITS = N / 8, STRIDE = group(UNITS) * BLOCKS, SIZE = K * 16;  // bytes of a unit
  for (int base = turn.first; base < UNITS; base += STRIDE)
    for (int from = 0; from < SIZE; from += STAGE)
      for (int unit = base; unit < min(UNITS, base + STRIDE); unit += BLOCKS) {
        u32 bytes = min(STAGE, SIZE - from), full = address(at.full());
        wait(at.empty(), at.turn ^ 1);
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full), "r"(bytes) : "memory");
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                     ::"r"(address(at.here())), "l"((const char*)weights + (u64)unit * SIZE + from),
                     "r"(bytes), "r"(full) : "memory");
        at.next();
      }
  turn.past(UNITS);
}

__device__ void stream(const Step& p, const Shared& s, Ring at) {
  Turn turn;
  for (int layer = 0; layer < LAYERS; layer++) {
    const u64* w = s.weights + 4 * layer;
    send<HIDDEN, 3 * HIDDEN>((const u16*)w[0], at, turn);
    send<HIDDEN, HIDDEN>((const u16*)w[1], at, turn);
#if TEXT
    send<HIDDEN, HEADS * TEXT>(p.queries + (u64)layer * HEADS * TEXT * HIDDEN, at, turn);
    send<HEADS * TEXT, HIDDEN>(p.values + (u64)layer * HEADS * TEXT * HIDDEN, at, turn);
#endif
    send<HIDDEN, FFN>((const u16*)w[2], at, turn);
    send<FFN, HIDDEN>((const u16*)w[3], at, turn);
  }
  send<HIDDEN, BOOKS * VOCAB>(p.heads, at, turn);
}

// ---------------------------------------------------------------------------------------------- products

// write(row, n, sum over k of input[row, k] * W[n, k]) for this block's units. Warp w takes, and has itself written to
// `s.input`, the k from 64 (8 i + w) on, 64 each, so that products need no barrier with what prepares their input.
template <int K, int N, class Write> __device__ __forceinline__ void product(
    Shared& s, Ring& at, Turn& turn, Write write) {
  constexpr int UNITS = N / 8, MINE = group(UNITS);
  const int tid = threadIdx.x, warp = tid / 32, lane = tid % 32, row = lane / 4, t = lane % 4;
  __syncwarp();
  for (int base = turn.first; base < UNITS; base += MINE * BLOCKS) {
    float sums[MINE][4] = {};
#pragma unroll 1
    for (int from = 0; from < K; from += 512) {
      const int k = from + 64 * warp;
      uint4 a[2] = {};
      if (k < K && row < ROWS) {
        const uint4* in = (const uint4*)(s.input + row * (K + SKEW) + k) + t;
        a[0] = in[0], a[1] = in[4];
      }
#pragma unroll
      for (int u = 0; u < MINE; u++) {
        if (base + u * BLOCKS < UNITS) {
          wait(at.full(), at.turn);
          if (k < K) {
            const uint4* w = (const uint4*)at.here() + 64 * warp + lane;
            const uint4 b0 = w[0], b1 = w[32];
            mma(sums[u], a[0].x, a[0].y, b0.x, b0.y);
            mma(sums[u], a[0].z, a[0].w, b0.z, b0.w);
            mma(sums[u], a[1].x, a[1].y, b1.x, b1.y);
            mma(sums[u], a[1].z, a[1].w, b1.z, b1.w);
          }
          __syncwarp();
          if (lane == 0)
            asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(at.empty())) : "memory");
          at.next();
        }
      }
    }
#pragma unroll
    for (int u = 0; u < MINE; u++)
      if (base + u * BLOCKS < UNITS && row < ROWS)
        *(float2*)&s.sums[u][warp][row][2 * t] = make_float2(sums[u][0], sums[u][1]);
    block();
    for (int i = tid; i < MINE * ROWS * 8; i += THREADS) {
      const int u = i / (ROWS * 8), r = i / 8 % ROWS, n = i % 8;
      if (base + u * BLOCKS < UNITS) {
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += s.sums[u][w][r][n];
        write(r, (base + u * BLOCKS) * 8 + n, sum);
      }
    }
    if (base + MINE * BLOCKS < UNITS) block();
  }
  turn.past(UNITS);
}

// ---------------------------------------------------------------------------------------------- inputs of products

// the layer norm of the residual stream
__device__ __forceinline__ void normalise(const Step& p, Shared& s, int norm) {
  constexpr int K = HIDDEN, MINE = (K + 511) / 512;  // stretches of 64 k of a warp
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const u16* scale = p.norms + (u64)norm * 2 * K;
  float2 x[ROWS][MINE];
  u32 gain[MINE], shift[MINE];
  float2 sums[ROWS] = {};
#pragma unroll
  for (int i = 0; i < MINE; i++) {
    const int k = 64 * (warp + WARPS * i) + 2 * lane;
    if (k < K) {
      gain[i] = *(const u32*)(scale + k), shift[i] = *(const u32*)(scale + K + k);
#pragma unroll
      for (int r = 0; r < ROWS; r++) x[r][i] = read((const float2*)(p.x + r * K + k));
    }
  }
#pragma unroll
  for (int i = 0; i < MINE; i++)
    if (64 * (warp + WARPS * i) < K)
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        sums[r].x += x[r][i].x + x[r][i].y;
        sums[r].y += x[r][i].x * x[r][i].x + x[r][i].y * x[r][i].y;
      }
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int d = 16; d; d /= 2) {
      sums[r].x += __shfl_xor_sync(~0u, sums[r].x, d);
      sums[r].y += __shfl_xor_sync(~0u, sums[r].y, d);
    }
  if (lane < ROWS)
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
    for (int i = 0; i < MINE; i++) {
      const int k = 64 * (warp + WARPS * i) + 2 * lane;
      if (k < K) {
        const float2 g = wide(gain[i]), b = wide(shift[i]);
        *(u32*)(s.input + r * (K + SKEW) + k) =
            narrow((x[r][i].x - mean) * factor * g.x + b.x, (x[r][i].y - mean) * factor * g.y + b.y);
      }
    }
  }
}

// what the splits of each head attended to, weighed into one
__device__ __forceinline__ void merge(const Step& p, Shared& s) {
  constexpr int MINE = (HEADS + WARPS - 1) / WARPS;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane % 8;
  for (int i = lane / 8; i < ROWS * MINE; i += 4) {
    const int r = i / MINE, h = warp + WARPS * (i % MINE);
    if (h >= HEADS) continue;
    const int at = (r * HEADS + h) * SPLITS;
    uint4 mixed[SPLITS];
    float weight[SPLITS], most = -INFINITY, sum = 0, out[8] = {};
#pragma unroll
    for (int j = 0; j < SPLITS; j++) {
      mixed[j] = read((const uint4*)(p.mixed + (at + j) * HEAD) + part);
      weight[j] = read(p.weight + at + j);
    }
#pragma unroll
    for (int j = 0; j < SPLITS; j++) most = fmaxf(most, weight[j]);
#pragma unroll
    for (int j = 0; j < SPLITS; j++) {
      const float w = power(weight[j] - most);
      const u32* pair = &mixed[j].x;
      sum += w;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const float2 f = wide(pair[e]);
        out[2 * e] += w * f.x, out[2 * e + 1] += w * f.y;
      }
    }
    const float f = 1 / sum;
    *((uint4*)(s.input + r * (HIDDEN + SKEW) + h * HEAD) + part) = make_uint4(
        narrow(out[0] * f, out[1] * f), narrow(out[2] * f, out[3] * f),
        narrow(out[4] * f, out[5] * f), narrow(out[6] * f, out[7] * f));
  }
}

#if TEXT
// each head's softmax over the tokens that the row hears; over none it is zero, which is what null rows hear
__device__ __forceinline__ void listen(const Step& p, Shared& s) {
  constexpr int K = HEADS * TEXT;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const int first = p.texts[2 * r], last = p.texts[2 * r + 1];
    for (int k = 64 * warp + 2 * lane; k < K; k += 64 * WARPS) {
      const float2 score = read((const float2*)(p.scores + r * K + k));
      const int token = k % TEXT;
      const bool hears0 = token >= first && token < last, hears1 = token + 1 >= first && token + 1 < last;
      float most = fmaxf(hears0 ? score.x : -INFINITY, hears1 ? score.y : -INFINITY);
#pragma unroll
      for (int d = TEXT / 4; d; d /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, d));
      const float e0 = hears0 ? __expf(score.x - most) : 0, e1 = hears1 ? __expf(score.y - most) : 0;
      float sum = e0 + e1;
#pragma unroll
      for (int d = TEXT / 4; d; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
      const float f = sum > 0 ? 1 / sum : 0;
      *(u32*)(s.input + r * (K + SKEW) + k) = narrow(e0 * f, e1 * f);
    }
  }
}
#endif

__device__ __forceinline__ void fetch(const Step& p, Shared& s) {  // the feed-forward layer's inner activations
  constexpr int MINE = (FFN + 511) / 512;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll 8
  for (int i = lane / 8; i < ROWS * MINE; i += 4) {
    const int r = i / MINE, k = 64 * (warp + WARPS * (i % MINE)) + lane % 8 * 8;
    if (k < FFN) *(uint4*)(s.input + r * (FFN + SKEW) + k) = read((const uint4*)(p.inner + r * FFN + k));
  }
}

// ---------------------------------------------------------------------------------------------- attention

// Each half of a block takes (row, head, split) items; a warp reads 16 positions at once, eight lanes to a position,
// and keeps a running softmax (Milakov and Gimelshein 2018) for each group of eight lanes.
__device__ __forceinline__ void attend(const Step& p, Shared& s, int layer) {
  constexpr int TEAM = WARPS / HALVES;  // warps
  const int tid = threadIdx.x, lane = tid % 32, part = lane % 8, half = tid / (32 * TEAM), mate = tid / 32 % TEAM;
  const u64 plane = (u64)ROWS * HEADS * p.length * HEAD;
  for (int item = blockIdx.x * HALVES + half; item < ROWS * HEADS * SPLITS; item += BLOCKS * HALVES) {
    const int row = item / (HEADS * SPLITS), head = item / SPLITS, split = item % SPLITS;  // head of all rows' heads
    const int first = (int)p.start[row], end = p.before + p.position + 1;
    const int share = (end - first + SPLITS - 1) / SPLITS, from = first + split * share, to = min(from + share, end);
    const u16* keys = p.cache + 2 * layer * plane + (u64)head * p.length * HEAD + part * 8;
    const u16* values = keys + plane;
    float query[8], out[8] = {}, most = -INFINITY, sum = 0;
    *(float4*)query = read((const float4*)(p.query + head * HEAD + part * 8));
    *(float4*)(query + 4) = read((const float4*)(p.query + head * HEAD + part * 8 + 4));
    for (int base = from + 16 * mate; base < to; base += 16 * TEAM) {
      uint4 key[4], value[4];
      float score[4], top = most;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const u64 at = (u64)min(base + 4 * j + lane / 8, to - 1) * HEAD;
        key[j] = read((const uint4*)(keys + at)), value[j] = read((const uint4*)(values + at));
      }
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const u32* pair = &key[j].x;
        float dot = 0;
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const float2 f = wide(pair[e]);
          dot += query[2 * e] * f.x + query[2 * e + 1] * f.y;
        }
#pragma unroll
        for (int d = 4; d; d /= 2) dot += __shfl_xor_sync(~0u, dot, d);
        score[j] = base + 4 * j + lane / 8 < to ? dot : -INFINITY;
        top = fmaxf(top, score[j]);
      }
      if (top > -INFINITY) {
        const float fade = power(most - top);
        sum *= fade;
#pragma unroll
        for (int e = 0; e < 8; e++) out[e] *= fade;
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float w = power(score[j] - top);
          const u32* pair = &value[j].x;
          sum += w;
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const float2 f = wide(pair[e]);
            out[2 * e] += w * f.x, out[2 * e + 1] += w * f.y;
          }
        }
        most = top;
      }
    }
    // the four groups of a warp, then the warps
    float top = fmaxf(most, __shfl_xor_sync(~0u, most, 8));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 16));
    const float fade = top > -INFINITY ? power(most - top) : 0;
    sum *= fade;
#pragma unroll
    for (int d = 8; d < 32; d *= 2) sum += __shfl_xor_sync(~0u, sum, d);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      out[e] *= fade;
      out[e] += __shfl_xor_sync(~0u, out[e], 8);
      out[e] += __shfl_xor_sync(~0u, out[e], 16);
    }
    const int warp = tid / 32;
    if (lane < 8) {
      *(float4*)&s.mixed[warp][part * 8] = *(float4*)out;
      *(float4*)&s.mixed[warp][part * 8 + 4] = *(float4*)(out + 4);
    }
    if (lane == 0) s.heaviest[warp][0] = top, s.heaviest[warp][1] = sum;
    together(2 + half, 32 * TEAM);
    if (mate == 0) {
      float2 total = {};
      float all = -INFINITY, norm = 0;
#pragma unroll
      for (int w = 0; w < TEAM; w++) all = fmaxf(all, s.heaviest[warp + w][0]);
      if (all > -INFINITY)
#pragma unroll
        for (int w = 0; w < TEAM; w++) {
          const float f = power(s.heaviest[warp + w][0] - all);
          const float2 mixed = *(float2*)&s.mixed[warp + w][2 * lane];
          norm += f * s.heaviest[warp + w][1];
          total.x += f * mixed.x, total.y += f * mixed.y;
        }
      const float f = norm > 0 ? 1 / norm : 0;
      *(u32*)(p.mixed + item * HEAD + 2 * lane) = narrow(total.x * f, total.y * f);
      if (lane == 0) p.weight[item] = norm > 0 ? all + __log2f(norm) : -INFINITY;
    }
    if (item + BLOCKS * HALVES < ROWS * HEADS * SPLITS) together(2 + half, 32 * TEAM);
  }
}

// ---------------------------------------------------------------------------------------------- codes

__device__ void embed(const Step& p) {
  for (int i = blockIdx.x * THREADS + threadIdx.x; i < ROWS * HIDDEN; i += BLOCKS * THREADS) {
    const int row = i / HIDDEN, n = i % HIDDEN, place = max(0, p.before + p.position - (int)p.start[row]);
    float sum = wide1(p.positions[(u64)place * HIDDEN + n]);
    for (int book = 0; book < BOOKS; book++) {
      const long long code = p.sequence[(row % BATCH * BOOKS + book) * p.span + p.position];
      sum += wide1(p.embedding[(code + book * (VOCAB + 1)) * HIDDEN + n]);
    }
    p.x[i] = sum;
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
      logit[i] = read(p.logits + (row * BOOKS + book) * VOCAB + v);
      if (ROWS > BATCH) {
        const float null = read(p.logits + ((row + BATCH) * BOOKS + book) * VOCAB + v);
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

extern "C" __global__ void __launch_bounds__(THREADS + 32, 1) step(const Step p) {
  extern __shared__ __align__(128) char memory[];
  Shared& s = *(Shared*)memory;
  Ring at{memory + BEFORE};
  for (int i = threadIdx.x; i < LAYERS * 4; i += THREADS + 32) s.weights[i] = p.weights[i];
  if (threadIdx.x == 0) {
    for (Ring i = at; !i.turn; i.next()) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(address(i.full())));
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(i.empty())), "r"(WARPS));
    }
    asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();
  if (threadIdx.x >= THREADS) {
    if (threadIdx.x == THREADS) stream(p, s, at);
    return;
  }

  Turn turn;
  const int here = p.before + p.position;
  const auto add = [&](int row, int n, float sum) { p.x[row * HIDDEN + n] = read(p.x + row * HIDDEN + n) + sum; };

  embed(p);
  device(p.arrived);
#pragma unroll 1
  for (int layer = 0; layer < LAYERS; layer++) {
    int norm = layer * NORMS;
    normalise(p, s, norm++);
    product<HIDDEN, 3 * HIDDEN>(s, at, turn, [&](int row, int n, float sum) {
      if (n < HIDDEN) {
        p.query[row * HIDDEN + n] = sum * (1.44269504f / 8);  // for base 2, over the root of HEAD
      } else {
        const int which = n / HIDDEN - 1, head = n % HIDDEN / HEAD;
        const u64 plane = (u64)((2 * layer + which) * ROWS + row) * HEADS + head;
        p.cache[(plane * p.length + here) * HEAD + n % HEAD] = (u16)narrow(sum, 0);
      }
    });
    device(p.arrived);
    attend(p, s, layer);
    device(p.arrived);
    merge(p, s);
    product<HIDDEN, HIDDEN>(s, at, turn, add);
    device(p.arrived);
#if TEXT
    normalise(p, s, norm++);
    product<HIDDEN, HEADS * TEXT>(s, at, turn, [&](int row, int n, float sum) {
      p.scores[row * HEADS * TEXT + n] = sum;
    });
    device(p.arrived);
    listen(p, s);
    product<HEADS * TEXT, HIDDEN>(s, at, turn, add);
    device(p.arrived);
#endif
    normalise(p, s, norm++);
    product<HIDDEN, FFN>(s, at, turn, [&](int row, int n, float sum) {
      const float gelu = 0.5f * sum * (1 + erff(sum * 0.70710678f));
      p.inner[row * FFN + n] = (u16)narrow(gelu, 0);
    });
    device(p.arrived);
    fetch(p, s);
    product<FFN, HIDDEN>(s, at, turn, add);
    device(p.arrived);
  }
  normalise(p, s, LAYERS * NORMS);
  product<HIDDEN, BOOKS * VOCAB>(s, at, turn, [&](int row, int n, float sum) {
    p.logits[row * BOOKS * VOCAB + n] = sum;
  });
  if (!p.draws) return;
  device(p.arrived);
  for (int i = blockIdx.x; i < BATCH * BOOKS; i += BLOCKS) {
    draw(p, s, i / BOOKS, i % BOOKS);
    block();
  }
}
