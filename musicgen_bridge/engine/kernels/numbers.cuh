// Halves and floats, and the product of the tensor cores.
#pragma once

#include "shape.cuh"

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

__device__ __forceinline__ u32 narrow(float low, float high) {
  u32 pair;
#if BF16
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#else
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#endif
  return pair;
}

// Products for a lane's output g = lane / 4 and its rows 2 t and 2 t + 1, of two pairs x0, x1 along k: w.x, w.z times
// them is added to sums[0, 1], and w.y, w.w times them to sums[2, 3], which the tensor cores mean for output g + 8. Here
// they are the next two pairs of g, with which the next x0, x1 make sums[2, 3], and what is added to the other two sums
// goes unused. So four registers loaded at once are an operand, and none has to be moved.
__device__ __forceinline__ void mma(float (&sums)[4], const uint4& w, u32 x0, u32 x1) {
#if BF16
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
#endif
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(w.x), "r"(w.y), "r"(w.z), "r"(w.w), "r"(x0), "r"(x1));
}

constexpr u32 ONES = BF16 ? 0x3f803f80u : 0x3c003c00u;

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1 + erff(x * 0.70710678f)); }

__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
