// Whatever the compiler is told to build for: SSE2 on any x86-64, NEON on any aarch64.
#include "standard.h"
#define CLDYN_LANES 4
#define CLDYN_API generic_api
#include "implementation.h"
