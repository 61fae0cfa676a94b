// Words that pass from block to block: each says by its lowest bit of which turn it is.
#pragma once

#include "shape.cuh"

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

// Ask for words[i] at at(i), where at(i) is not null.
template <int COUNT, class Word, class At> __device__ __forceinline__ void ask(Word (&words)[COUNT], At at) {
#pragma unroll
  for (int i = 0; i < COUNT; i++)
    if (const u32* from = at(i)) look(words[i], from);
}

// Whether any of what was asked for is not of this turn yet.
template <int COUNT, class Word, class At>
__device__ __forceinline__ u32 lacking(const Word (&words)[COUNT], At at, u32 turn) {
  u32 old = 0;
#pragma unroll
  for (int i = 0; i < COUNT; i++)
    if (at(i)) old |= stale(words[i], turn);
  return old;
}

// Read what is asked for until all of it is of this turn.
template <int COUNT, class Word, class At>
__device__ __forceinline__ void receive(Word (&words)[COUNT], At at, u32 turn) {
  do ask(words, at);
  while (lacking(words, at, turn));
}
