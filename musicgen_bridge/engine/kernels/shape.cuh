// The sizes of a step, what it is given, and what a block keeps in shared memory.
#pragma once

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr int WARPS = 8, THREADS = 32 * WARPS;  // that compute; one warp more streams
constexpr int HEAD = 64;                        // channels
constexpr int MIXED = HEAD / 2 + 4;             // words from one split's result to the next
constexpr int CHUNK = 512;                      // k that the warps share out at once: 64 each
constexpr int IN_HALVES = 2 * 8 * 64;           // bytes of a brick, which is what a warp takes of a unit's chunk
constexpr int IN_BYTES = 16 + 8 * 64;           // the same in int8: the scales of its eight outputs, then the weights
constexpr int BRICK = INT8 ? IN_BYTES : IN_HALVES;  // of the model's own weights
constexpr int SLOT = 8 * (INT8 ? 4 * IN_BYTES : 2 * IN_HALVES);  // bytes of the ring's slots: some chunks of some units
constexpr int FLIGHT = HIDDEN > 1024 ? 2 : 1;   // slots under way at once: more would hold up all other reads
constexpr int PAST = 64;                        // positions of a slot of keys and values
constexpr int KEYS = PAST * HEAD * 2;           // bytes of them, and of their values behind them
constexpr int GROUP = 8;                        // units at most that share one pass over the activations
constexpr int MOST = BLOCKS / (ROWS * HEADS);
constexpr int SPLITS = MOST < 1 ? 1 : MOST > 8 ? 8 : MOST;  // blocks that share a row's head
constexpr int NORMS = TEXT ? 3 : 2;
constexpr int SUMS = 1 + NORMS * LAYERS;         // how often a step writes x
#define INFINITY __int_as_float(0x7f800000)

struct Step {
  const u64* weights;     // [LAYERS, 4]: qkv, out, up, down
  const u16* heads;       // [BOOKS * VOCAB, HIDDEN]
  const u16* queries;     // [LAYERS, HEADS * TEXT, HIDDEN]
  const u16* values;      // [LAYERS, HIDDEN, HEADS * TEXT]
  // for the maps behind a norm, see `Normed`
  const float2* qkv_fold; // [LAYERS, 3 * HIDDEN]
  const float2* queries_fold; // [LAYERS, HEADS * TEXT]
  const float2* up_fold;  // [LAYERS, FFN]
  const float2* heads_fold; // [BOOKS * VOCAB]
  const int* rows;        // [ROWS, 3]: the tokens that a row hears, first and one past the last; its row of the cache
  const u16* embedding;   // [BOOKS * (VOCAB + 1), HIDDEN]
  const u16* positions;   // [..., HIDDEN]
  const long long* start; // [ROWS]: the first position of a row in the cache
  u16* cache;             // [LAYERS, 2, cached, HEADS, length, HEAD]
  long long* sequence;    // [BATCH, BOOKS, span]
  const float* noise;     // [BATCH, BOOKS, VOCAB]

  // what passes from block to block; all zero before the first launch
  u32* x;       // [ROWS, HIDDEN], floats: the residual stream, of which a unit is read by who adds to it
  u32* halves;  // [ROWS, HIDDEN / 2], pairs of halves: the same, read by all
  u32* fresh;   // [ROWS, 3, HIDDEN], floats: query, key and value of this position
  u32* mixed;   // [ROWS, HEADS, SPLITS, MIXED], pairs of halves, and a float behind them: see `attend`
  u32* scores;  // [ROWS, HEADS * TEXT], floats
  u32* inner;   // [ROWS, FFN / 2], pairs of halves
  u32* logits;  // [ROWS, BOOKS, VOCAB], floats
  u32* count;   // see `Count`
  int launches;  // before this one
  int cached, length, span, position, before, top_k, draws;
  float temperature, guidance;
};

struct Shared {
  u64 weights[LAYERS * 4];
  float2 moments[WARPS][ROWS];
  float sums[GROUP][WARPS][8][(ROWS + 1) / 2 * 2];
  float mixed[WARPS][HEAD];
  float heaviest[WARPS][2];
  u32 counts[256];
  u32 warp_counts[WARPS];
  u32 found[2];
  int start[ROWS], rows[ROWS][3];
};
constexpr int BEFORE = (sizeof(Shared) + 127) / 128 * 128;  // bytes before the ring
constexpr int RING = (MEMORY - BEFORE) / (SLOT + 16);      // slots, each with two barriers behind the ring
static_assert(!INT8 || !BF16, "bytes become halves");
static_assert(RING >= 4, "a product takes four slots at once");
