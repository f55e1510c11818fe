#if defined(__x86_64__)
#include "standard.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define CLDYN_LANES 8
#define CLDYN_API avx2_api
#include "implementation.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
