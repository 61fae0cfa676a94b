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

// For a lane's output, g = lane / 4, and its rows 2 t and 2 t + 1: sums[0, 1] += W[g, k of w.x and w.z] * x. With the 16
// outputs that the tensor cores take, w.y and w.w would be those of g + 8; here they are g's next k, so for those the
// sums are sums[2, 3]. Four registers loaded at once are the operand, and none is moved.
__device__ __forceinline__ void mma(float (&sums)[4], const uint4& w, u32 x0, u32 x1) {
#if BF16
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
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
