// The C functions that Python calls. Each returns 0, or 1 if there is not enough memory.
#include <cstdlib>
#include <cstring>
#include <exception>

#include "api.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

extern const Api generic_api;
#if defined(__x86_64__)
extern const Api avx2_api, avx512_api;
#endif

namespace {

// The widest that this machine has; CLDYN_ISA=generic|avx2|avx512 allows no wider one.
const Api& choose() {
#if defined(__x86_64__)
  const char* limit = std::getenv("CLDYN_ISA");
  const bool any = !limit || !*limit || !std::strcmp(limit, "avx512"), two = any || !std::strcmp(limit, "avx2");
  __builtin_cpu_init();
  if (any && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    return avx512_api;
  if (two && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_api;
#endif
  return generic_api;
}

const Api& api() {
  static const Api& chosen = choose();
  return chosen;
}

template <typename Call>
int guarded(Call call) {
  try {
    call();
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

}  // namespace

EXPORT int cldyn_lanes() { return api().lanes; }

EXPORT int cldyn_vfn_new(const float* weights, size_t count, int depth, int threads, void** made) {
  return guarded([&] { *made = api().vfn_new(weights, count, depth, threads); });
}

EXPORT void cldyn_vfn_delete(void* vfn) { api().vfn_delete(vfn); }

EXPORT int cldyn_vfn_encode(void* vfn, const float* infrared, const float* luma, int height, int width) {
  return guarded([&] { api().vfn_encode(vfn, infrared, luma, height, width); });
}

EXPORT int cldyn_vfn_encoded(void* vfn, int modality, float* feature) {
  return guarded([&] { api().vfn_encoded(vfn, modality, feature); });
}

EXPORT int cldyn_vfn_finish(void* vfn, int branches, const int32_t* configurations, const float* kernels, float* luma) {
  return guarded([&] { api().vfn_finish(vfn, branches, configurations, kernels, luma); });
}

EXPORT int cldyn_description_new(const float* weights, size_t count, int threads, void** made) {
  return guarded([&] { *made = api().description_new(weights, count, threads); });
}

EXPORT void cldyn_description_delete(void* description) { api().description_delete(description); }

EXPORT int cldyn_describe(void* description, const float* feature, int height, int width, int query,
                          float* means) {
  return guarded([&] { api().describe(description, feature, height, width, query, means); });
}

EXPORT int cldyn_luma(const uint8_t* rgb, size_t pixels, int threads, float* luma) {
  return guarded([&] { api().luma_of(rgb, pixels, threads, luma); });
}

EXPORT int cldyn_recolor(const float* luma, const uint8_t* rgb, size_t pixels, int threads, float* planes) {
  return guarded([&] { api().recolor(luma, rgb, pixels, threads, planes); });
}

EXPORT int cldyn_to_bytes(const float* planes, size_t pixels, int threads, uint8_t* bytes) {
  return guarded([&] { api().to_bytes(planes, pixels, threads, bytes); });
}
