// What a C++ compiler must know to take the device sources for its own machine: no threads.
#include <math.h>
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
