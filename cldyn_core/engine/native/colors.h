// From interleaved RGB bytes to luma, and from fused luma back, with the visible image's chroma (JFIF weights).
#pragma once

#include "pipeline.h"

namespace {

// rgb [pixels][3] -> luma [pixels] in [0, 1].
inline void luma_of(const uint8_t* rgb, size_t pixels, float* luma) {
  constexpr float scale = 1.0f / 255.0f;
  for (size_t i = 0; i < pixels; ++i)
    luma[i] = 0.299f * (scale * rgb[3 * i]) + 0.587f * (scale * rgb[3 * i + 1]) + 0.114f * (scale * rgb[3 * i + 2]);
}

inline float clamp(float value) {
  value = value < 0.0f ? 0.0f : value;
  return value > 1.0f ? 1.0f : value;
}

// Fused luma [pixels] and the visible rgb [pixels][3] -> red, green, blue, each [pixels], in [0, 1].
inline void recolor(const float* luma, const uint8_t* rgb, size_t pixels, float* red, float* green, float* blue) {
  constexpr float scale = 1.0f / 255.0f;
  for (size_t i = 0; i < pixels; ++i) {
    const float r = scale * rgb[3 * i], g = scale * rgb[3 * i + 1], b = scale * rgb[3 * i + 2];
    const float cb = -0.1687f * r - 0.3313f * g + 0.5f * b, cr = 0.5f * r - 0.4187f * g - 0.0813f * b;
    red[i] = clamp(luma[i] + 1.402f * cr);
    green[i] = clamp(luma[i] - 0.34414f * cb - 0.71414f * cr);
    blue[i] = clamp(luma[i] + 1.772f * cb);
  }
}

// Red, green, blue, each [pixels], in [0, 1] -> bytes [pixels][3], rounded.
inline void to_bytes(const float* red, const float* green, const float* blue, size_t pixels, uint8_t* bytes) {
  constexpr float to_integer = 12582912.0f;  // adding it leaves the nearest integer in the last bits
  constexpr size_t piece = 256;
  const float* planes[3] = {red, green, blue};
  float sums[piece];
  uint32_t bits[3][piece];
  for (size_t first = 0; first < pixels; first += piece, bytes += 3 * piece) {
    const size_t count = std::min(piece, pixels - first);
    for (int c = 0; c < 3; ++c) {
      for (size_t i = 0; i < count; ++i) sums[i] = clamp(planes[c][first + i]) * 255.0f + to_integer;
      std::memcpy(bits[c], sums, sizeof(float) * count);
    }
    for (size_t i = 0; i < count; ++i)
      for (int c = 0; c < 3; ++c) bytes[3 * i + c] = uint8_t(bits[c][i]);
  }
}

}  // namespace
