#if defined(__x86_64__)
#include "standard.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")
#endif
#define CLDYN_LANES 16
#define CLDYN_API avx512_api
#include "implementation.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
