// What the library offers, once for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

struct Api {
  int lanes;
  void* (*vfn_new)(const float* weights, size_t count, int depth, int threads);
  void (*vfn_delete)(void* vfn);
  void (*vfn_encode)(void* vfn, const float* infrared, const float* luma, int height, int width);
  void (*vfn_encoded)(void* vfn, int modality, float* feature);
  void (*vfn_finish)(void* vfn, int branches, const int32_t* configurations, const float* kernels, float* luma);
  void* (*description_new)(const float* weights, size_t count, int threads);
  void (*description_delete)(void* description);
  void (*describe)(void* description, const float* feature, int height, int width, int query, float* means);
  void (*luma_of)(const uint8_t* rgb, size_t pixels, int threads, float* luma);
  void (*recolor)(const float* luma, const uint8_t* rgb, size_t pixels, int threads, float* planes);
  void (*to_bytes)(const float* planes, size_t pixels, int threads, uint8_t* bytes);
};
