// One step of the decoder as one persistent kernel: a block on every multiprocessor, for the whole step.
//
// At batch one a step reads every weight once and computes little, so it can take no less than memory takes to deliver
// them; hundreds of small kernels, or a pause at every dependency, leave memory idle most of that time. Here one warp
// of each block does nothing but stream the block's share of all weights, in the order of their use, into a ring of
// shared memory, and past keys and values with them. It never waits for a result, only for room. Eight other warps
// compute a phase at a time, while the ring fills with what the next phases need.
//
//   embed | for each layer: qkv | attend | out | queries | values | up | down | ... | heads | draw
//
// `queries` and `values` are cross-attention absorbed into the text, which is fixed for a take: with keys K and values
// V of T tokens, scores = x (Wq^T K) and output = p (V Wo^T), two maps of H * T instead of two of d and a softmax.
//
// What a phase makes is read by all blocks in the next one. No barrier stands between: a barrier would be a fence, an
// atomic and a poll, three trips through a memory that is busy with weights. Instead every 32-bit word that passes from
// block to block carries its turn in its lowest bit, which is the other one each time that the word is written anew.
// Readers poll the words themselves (the bit costs at most an ulp), once a counter hints that they may be there. A word
// is never overwritten too early: whoever writes it has read results of everybody who was to read it before.
//
// The residual stream is passed on twice: as floats to whoever adds to it next, and as halves to all, which is half of
// what everybody has to read in three phases of a layer.
//
// A product is eight outputs times all of K, a `unit`; block b computes units b, b + blocks, ... of each phase. Weights
// are the M of mma.m16n8k16, packed so that four registers loaded at once are its operand, and rows of activations, up
// to eight, its N, so that a batch of eight costs the tensor cores what one does. In int8 the weights come as bytes in
// the same order and become halves in the registers (see `Weights`). The activations come from where they were passed on
// straight to the registers that the products take them from. A layer norm is part of the product behind it (see
// `Normed`), so that nobody waits for it.
//
// Constants given on the compiler's command line: HIDDEN FFN HEADS LAYERS BOOKS VOCAB BATCH ROWS TEXT BLOCKS OTHERS
// MEMORY BF16 INT8. OTHERS are a block's threads that don't compute, MEMORY is what it has of shared memory, in bytes.
// BF16 says that halves are bfloat16, INT8 that the model's own weights are bytes.
// TEXT is 0 for models without cross-attention, else 32, 64 or 128 tokens; rows are BATCH conditioned ones, then null ones.

#include "attention.cuh"
#include "codes.cuh"
#include "inputs.cuh"
#include "product.cuh"

constexpr int blocks(int pieces) { return pieces < BLOCKS ? pieces : BLOCKS; }

// Where registers can be dealt out anew, the warps that compute get most of those of four others, of which one streams.
#if OTHERS == 128
#define REGISTERS(change, count) asm volatile("setmaxnreg." #change ".sync.aligned.u32 %0;" ::"n"(count))
#else
#define REGISTERS(change, count)
#endif

extern "C" __global__ void __launch_bounds__(THREADS + OTHERS, 1) step(const Step p) {
  extern __shared__ __align__(128) char memory[];
  Shared& s = *(Shared*)memory;
  Ring at{memory + BEFORE};
  for (int i = threadIdx.x; i < LAYERS * 4; i += THREADS + OTHERS) s.weights[i] = p.weights[i];
  if (threadIdx.x < ROWS) {
    s.start[threadIdx.x] = (int)p.start[threadIdx.x];
    for (int i = 0; i < 3; i++) s.rows[threadIdx.x][i] = p.rows[3 * threadIdx.x + i];
  }
  if (threadIdx.x == 0) {
    for (Ring i = at; !i.turn; i.next()) ready(i.full(), SENDERS), ready(i.empty(), WARPS);
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
#endif
  }
  __syncthreads();
  if (threadIdx.x >= THREADS) {
    REGISTERS(dec, 40);
    if (threadIdx.x < THREADS + SENDERS) stream(p, s, at);
    return;
  }

  REGISTERS(inc, 232);
  Turn turn;
  const int here = p.before + p.position;
  u32 x = p.launches * SUMS;  // the turn of x, and of what passes once a layer
  u32 lap = p.launches * LAYERS;
  const auto add = [&](int row, int n, float sum, float next) {
    pass(p.x + row * HIDDEN + n, sum, x + 1);
    if (n % 2 == 0) pass(p.halves + (row * HIDDEN + n) / 2, narrow(sum, next), x + 1);
  };

  // Blocks that have units in a phase, or items of attention, tell when they are through with it.
  constexpr int QKV = blocks(3 * HIDDEN / 8), ITEMS = blocks(ROWS * HEADS * SPLITS), ADD = blocks(HIDDEN / 8);
  constexpr int QUERIES = blocks(HEADS * TEXT / 8), UP = blocks(FFN / 8), HEADS_OF_BOOKS = blocks(BOOKS * VOCAB / 8);
  constexpr int OF_LAYER = QKV + ITEMS + 2 * ADD + UP + (TEXT ? QUERIES + ADD : 0);
  Count count{p.count, (u32)p.launches * (BLOCKS + LAYERS * OF_LAYER + HEADS_OF_BOOKS)};
  embed(p, ++x);
  block();
  count.tell();
#pragma unroll 1
  for (int layer = 0; layer < LAYERS; layer++) {
    lap++;
    const Normed<HIDDEN, 3 * HIDDEN> qkv(p.qkv_fold + layer * 3 * HIDDEN, turn);
    count.await(layer ? ADD : BLOCKS);
    product<HIDDEN, 3 * HIDDEN, BRICK>(s, at, turn, count, Halves<HIDDEN>{p.halves, x}, qkv,
                                [&](int row, int n, float sum, float) {
      if (n < HIDDEN) sum *= 1.44269504f / 8;  // the query, for base 2, over the root of HEAD
      pass(p.fresh + row * 3 * HIDDEN + n, sum, lap);
      if (n >= HIDDEN) {
        const int which = n / HIDDEN - 1, head = n % HIDDEN / HEAD;
        const u64 plane = (u64)((2 * layer + which) * p.cached + s.rows[row][2]) * HEADS + head;
        p.cache[(plane * p.length + here) * HEAD + n % HEAD] = (u16)narrow(sum, 0);
      }
    });
    count.await(QKV);
    attend(p, s, at, lap);
    if (blockIdx.x < ITEMS) count.tell();
    count.await(ITEMS);
    product<HIDDEN, HIDDEN, BRICK>(s, at, turn, count, Merged(p.mixed, lap), Added<HIDDEN>(p.x, x), add);
    x++;
#if TEXT
    const Normed<HIDDEN, HEADS * TEXT> queries(p.queries_fold + layer * HEADS * TEXT, turn);
    count.await(ADD);
    product<HIDDEN, HEADS * TEXT, IN_HALVES>(s, at, turn, count, Halves<HIDDEN>{p.halves, x}, queries,
                                  [&](int row, int n, float sum, float) {
      pass(p.scores + row * HEADS * TEXT + n, sum, lap);
    });
    count.await(QUERIES);
    product<HEADS * TEXT, HIDDEN, IN_HALVES>(s, at, turn, count, Heard(s, p.scores, lap),
                                  Added<HIDDEN>(p.x, x), add);
    x++;
#endif
    const Normed<HIDDEN, FFN> up(p.up_fold + layer * FFN, turn);
    count.await(ADD);
    product<HIDDEN, FFN, BRICK>(s, at, turn, count, Halves<HIDDEN>{p.halves, x}, up,
                         [&](int row, int n, float sum, float next) {
      if (n % 2 == 0) pass(p.inner + (row * FFN + n) / 2, narrow(gelu(sum), gelu(next)), lap);
    });
    count.await(UP);
    product<FFN, HIDDEN, BRICK>(s, at, turn, count, Halves<FFN>{p.inner, lap}, Added<HIDDEN>(p.x, x), add);
    x++;
  }
  const Normed<HIDDEN, BOOKS * VOCAB> heads(p.heads_fold, turn);
  count.await(ADD);
  product<HIDDEN, BOOKS * VOCAB, BRICK>(s, at, turn, count, Halves<HIDDEN>{p.halves, x}, heads,
                                 [&](int row, int n, float sum, float) {
    pass(p.logits + row * BOOKS * VOCAB + n, sum, p.launches + 1);
  });
  count.await(HEADS_OF_BOOKS);
  if (!p.draws) return;
  for (int i = blockIdx.x; i < BATCH * BOOKS; i += BLOCKS) {
    draw(p, s, i / BOOKS, i % BOOKS);
    block();
  }
}
