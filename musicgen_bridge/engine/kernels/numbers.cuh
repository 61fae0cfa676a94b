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

// What a lane takes of a brick [8, 64] in the order of `mma`: of its output eight weights, and the eight 32 behind them.
template <int BRICK> struct Weights {
  uint4 halves[2];
  __device__ __forceinline__ void load(const char* brick, int lane) {
    halves[0] = *(const uint4*)(brick + 16 * lane), halves[1] = *(const uint4*)(brick + 512 + 16 * lane);
  }
  __device__ __forceinline__ uint4 operator[](int i) const { return halves[i]; }
};

// Those in int8, 128 added to each: a byte b with 0x64 above it is the half 1024 + b, and s (1024 + b) - 1152 s is
// rounded once, since s is such that 1152 s is a half (see `pack_int8` in packing.py).
template <> struct Weights<IN_BYTES> {
  uint4 bytes;
  u32 scale;  // a half, twice
  __device__ __forceinline__ void load(const char* brick, int lane) {
    bytes = *(const uint4*)(brick + 16 + 16 * lane), scale = 0x10001u * *(const u16*)(brick + lane / 4 * 2);
  }
  __device__ __forceinline__ u32 pair(u32 four, u32 which) const {
    u32 sum = __byte_perm(four, 0x64646464u, which), shift, product;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(shift) : "r"(scale), "r"(0xe480e480u));  // -1152
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(sum), "r"(scale), "r"(shift));
    return product;
  }
  __device__ __forceinline__ uint4 operator[](int i) const {
    const u32 first = i ? bytes.z : bytes.x, second = i ? bytes.w : bytes.y;
    return make_uint4(pair(first, 0x4140), pair(first, 0x4342), pair(second, 0x4140), pair(second, 0x4342));
  }
};

constexpr u32 ONES = BF16 ? 0x3f803f80u : 0x3c003c00u;

__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1 + erff(x * 0.70710678f)); }

__device__ __forceinline__ float power(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
