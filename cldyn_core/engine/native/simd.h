// Vectors of CLDYN_LANES floats in the compiler's own vector types: one source for SSE2, AVX2, AVX-512 and NEON.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int kLanes = CLDYN_LANES;

typedef float Vec __attribute__((vector_size(4 * CLDYN_LANES), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(4 * CLDYN_LANES), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec splat(float s) { return s - Vec{}; }  // x - 0 is x, x + 0 would not be for -0
inline Vec vmax(Vec a, Vec b) { return a > b ? a : b; }
inline Vec vmin(Vec a, Vec b) { return a < b ? a : b; }
inline Vec vabs(Vec a) { return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(a) & 0x7fffffff); }

// Slope of the negative half: 1 is linear, 0 is ReLU. All slopes lie in [0, 1].
inline Vec activate(Vec a, float slope) { return vmax(a, a * slope); }

// e^x to 2 ulp: 2^n times a polynomial on [-ln2/2, ln2/2]. Saturates, so that a sigmoid never sees infinity.
inline Vec exponential(Vec x) {
  x = vmin(vmax(x, splat(-87.0f)), splat(87.0f));
  const Vec shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  Vec rounded = x * 1.44269504088896341f + shift;
  IntVec n = reinterpret_cast<IntVec>(rounded);
  rounded -= shift;
  Vec r = x - rounded * 0.693359375f + rounded * 2.12194440e-4f;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * reinterpret_cast<Vec>((n << 23) + 0x3f800000);
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace
