// Included by one file for each instruction set, which sets CLDYN_LANES and CLDYN_API. All is in unnamed namespaces, so
// that the linker does not take one file's functions for another's.
#pragma once

#include "api.h"
#include "colors.h"
#include "description.h"
#include "vfn.h"

namespace {

constexpr size_t kPortion = 1 << 15;  // pixels that a thread takes at a time

// Planes without margins, [channel][y][x].
void copy_out(const Rows& rows, float* to) {
  for (int c = 0; c < rows.channels(); ++c)
    for (int y = 0; y < rows.height(); ++y, to += rows.width())
      std::memcpy(to, rows.at(y) + c * rows.stride(), sizeof(float) * rows.width());
}

template <typename Work>
void in_portions(size_t pixels, int threads, Work work) {
  in_parallel(threads, int((pixels + kPortion - 1) / kPortion), [&](int i) {
    const size_t first = i * kPortion;
    work(first, std::min(kPortion, pixels - first));
  });
}

Vfn* vfn(void* p) { return static_cast<Vfn*>(p); }

}  // namespace

extern const Api CLDYN_API;
const Api CLDYN_API = {
    CLDYN_LANES,
    [](const float* weights, size_t count, int depth, int threads) -> void* {
      return new Vfn(weights, count, depth, threads);
    },
    [](void* p) { delete vfn(p); },
    [](void* p, const float* infrared, const float* luma, int height, int width) {
      vfn(p)->encode(infrared, luma, height, width);
    },
    [](void* p, int modality, float* feature) { copy_out(vfn(p)->encoded(modality), feature); },
    [](void* p, int branches, const int32_t* configurations, const float* kernels, float* luma) {
      copy_out(vfn(p)->finish(branches, configurations, kernels), luma);
    },
    [](const float* weights, size_t count, int threads) -> void* { return new Description(weights, count, threads); },
    [](void* p) { delete static_cast<Description*>(p); },
    [](void* p, const float* feature, int height, int width, int query, float* means) {
      static_cast<Description*>(p)->describe(feature, height, width, query != 0, means);
    },
    [](const uint8_t* rgb, size_t pixels, int threads, float* luma) {
      in_portions(pixels, threads, [&](size_t at, size_t count) { luma_of(rgb + 3 * at, count, luma + at); });
    },
    [](const float* luma, const uint8_t* rgb, size_t pixels, int threads, float* planes) {
      float *red = planes, *green = red + pixels, *blue = green + pixels;
      in_portions(pixels, threads, [&](size_t at, size_t count) {
        recolor(luma + at, rgb + 3 * at, count, red + at, green + at, blue + at);
      });
    },
    [](const float* planes, size_t pixels, int threads, uint8_t* bytes) {
      const float *red = planes, *green = red + pixels, *blue = green + pixels;
      in_portions(pixels, threads, [&](size_t at, size_t count) {
        to_bytes(red + at, green + at, blue + at, count, bytes + 3 * at);
      });
    },
};
