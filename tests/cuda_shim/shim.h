// CUDA for the CPU: what kernel sources may use, so that g++ compiles them and tests run them.
//
// Force-included before a source (`-include shim.h`). Threads of a block are fibers of one thread of
// the system (runtime.cpp), a warp is 32 of them. Only what is declared here is portable; anything
// else does not compile, which is the point. `__CUDA_ARCH__` is not defined here.
#pragma once
#define GRAMSERVE_SHIM 1

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

// ---- the runtime -------------------------------------------------------------------------------

namespace gramserve_shim {

enum Kind : int {
    shuffle_index,
    shuffle_xor,
    shuffle_up,
    shuffle_down,
    vote_any,
    vote_all,
    ballot,
    synchronize_warp,
    synchronize_block,
};

// One thread meets the others that `mask` names; `operand` is the lane, or the distance, it asks for.
uint64_t meet(Kind kind, unsigned mask, uint64_t value, int operand, int width);
void meet_block();
int run(void (*kernel)(void **), void **arguments, unsigned grid, unsigned block,
        unsigned shared_bytes, int backward, char *message, unsigned long message_bytes,
        void **fault);

extern unsigned char *shared;

struct Index {
    unsigned x, y, z;
};

template <class T>
inline T exchange(Kind kind, unsigned mask, T value, int operand, int width) {
    static_assert(sizeof(T) <= 8, "shuffles move at most eight bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = meet(kind, mask, bits, operand, width);
    memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace gramserve_shim

extern gramserve_shim::Index threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

// ---- warps and blocks --------------------------------------------------------------------------

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    return gramserve_shim::exchange(gramserve_shim::shuffle_index, mask, value, source, width);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    return gramserve_shim::exchange(gramserve_shim::shuffle_xor, mask, value, bits, width);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    return gramserve_shim::exchange(gramserve_shim::shuffle_up, mask, value, int(distance), width);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
    return gramserve_shim::exchange(gramserve_shim::shuffle_down, mask, value, int(distance), width);
}
inline int __any_sync(unsigned mask, int predicate) {
    return int(gramserve_shim::meet(gramserve_shim::vote_any, mask, predicate != 0, 0, 32));
}
inline int __all_sync(unsigned mask, int predicate) {
    return int(gramserve_shim::meet(gramserve_shim::vote_all, mask, predicate != 0, 0, 32));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return unsigned(gramserve_shim::meet(gramserve_shim::ballot, mask, predicate != 0, 0, 32));
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    gramserve_shim::meet(gramserve_shim::synchronize_warp, mask, 0, 0, 32);
}
inline void __syncthreads() { gramserve_shim::meet_block(); }

// ---- arithmetic --------------------------------------------------------------------------------

extern "C" {
double acos(double), asin(double), atan(double), atan2(double, double), ceil(double), cos(double);
double erf(double), erfc(double), exp(double), exp2(double), expm1(double), fabs(double);
double floor(double), fma(double, double, double), fmax(double, double), fmin(double, double);
double fmod(double, double), log(double), log1p(double), pow(double, double), rint(double);
double sin(double), sqrt(double), tanh(double), copysign(double, double);
float acosf(float), asinf(float), atanf(float), atan2f(float, float), ceilf(float), cosf(float);
float erff(float), erfcf(float), expf(float), exp2f(float), expm1f(float), fabsf(float);
float floorf(float), fmaf(float, float, float), fmaxf(float, float), fminf(float, float);
float fmodf(float, float), logf(float), log1pf(float), powf(float, float), rintf(float);
float sinf(float), sqrtf(float), tanhf(float), copysignf(float, float);
}

// CUDA overloads these for float, as <cmath> does, and so must their results be.
#define GRAMSERVE_ONE(name) \
    inline float name(float x) { return name##f(x); }
#define GRAMSERVE_TWO(name) \
    inline float name(float x, float y) { return name##f(x, y); }
GRAMSERVE_ONE(acos) GRAMSERVE_ONE(asin) GRAMSERVE_ONE(atan) GRAMSERVE_ONE(ceil) GRAMSERVE_ONE(cos)
GRAMSERVE_ONE(erf) GRAMSERVE_ONE(erfc) GRAMSERVE_ONE(exp) GRAMSERVE_ONE(exp2) GRAMSERVE_ONE(expm1)
GRAMSERVE_ONE(fabs) GRAMSERVE_ONE(floor) GRAMSERVE_ONE(log) GRAMSERVE_ONE(log1p) GRAMSERVE_ONE(rint)
GRAMSERVE_ONE(sin) GRAMSERVE_ONE(sqrt) GRAMSERVE_ONE(tanh)
GRAMSERVE_TWO(atan2) GRAMSERVE_TWO(copysign) GRAMSERVE_TWO(fmax) GRAMSERVE_TWO(fmin)
GRAMSERVE_TWO(fmod) GRAMSERVE_TWO(pow)
#undef GRAMSERVE_ONE
#undef GRAMSERVE_TWO
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float rsqrtf(float x) { return float(1 / sqrt(double(x))); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
inline float normcdff(float x) { return float(normcdf(double(x))); }
inline void sincos(double x, double *s, double *c) { *s = sin(x), *c = cos(x); }
inline void sincosf(float x, float *s, float *c) { *s = sinf(x), *c = cosf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }

#define GRAMSERVE_ORDER(T)                                   \
    inline T min(T x, T y) { return y < x ? y : x; }         \
    inline T max(T x, T y) { return x < y ? y : x; }
GRAMSERVE_ORDER(int) GRAMSERVE_ORDER(unsigned) GRAMSERVE_ORDER(long) GRAMSERVE_ORDER(unsigned long)
GRAMSERVE_ORDER(long long) GRAMSERVE_ORDER(unsigned long long)
#undef GRAMSERVE_ORDER
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }
inline int abs(int x) { return x < 0 ? -x : x; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
template <class T>
inline T __ldg(const T *place) { return *place; }

// ---- vectors: the hardware refuses a misaligned one, here as on the card -----------------------

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// ---- keywords ----------------------------------------------------------------------------------

#define __device__
#define __host__
#define __global__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __grid_constant__
#define GRAMSERVE_SHARED(name) unsigned char *const name = gramserve_shim::shared

// ---- entries that Python calls: one launch and one signature for each kernel -------------------

namespace gramserve_shim {

template <class T, bool number = std::is_arithmetic_v<T>>
struct Described {
    static constexpr char kind = '?';
    static constexpr int size = sizeof(T);
};
template <class T>
struct Described<T, true> {
    static constexpr char kind = std::is_same_v<T, bool>          ? 'b'
                                 : std::is_floating_point_v<T> ? 'f'
                                 : std::is_signed_v<T>         ? 'i'
                                                               : 'u';
    static constexpr int size = sizeof(T);
};
template <>
struct Described<void, false> {
    static constexpr char kind = '?';
    static constexpr int size = 0;
};

// How a parameter is handed over: by value 'v', as a pointer 'p' or as a pointer to constants 'c'.
template <class T> struct Written {
    static constexpr char access = 'v', kind = Described<T>::kind;
    static constexpr int size = Described<T>::size;
    using Held = T;
};
template <class T> struct Written<const T> : Written<T> {};
template <class T> struct Written<T *> {
    static constexpr char access = 'p', kind = Described<T>::kind;
    static constexpr int size = Described<T>::size;
    using Held = T *;
};
template <class T> struct Written<const T *> {
    static constexpr char access = 'c', kind = Described<T>::kind;
    static constexpr int size = Described<T>::size;
    using Held = const T *;
};
template <class T> struct Written<T *const> : Written<T *> {};
template <class T> struct Written<T *__restrict__> : Written<T *> {};
template <class T> struct Written<const T *__restrict__> : Written<const T *> {};

template <auto kernel> struct Entry;
template <class... P, void (*kernel)(P...)>
struct Entry<kernel> {
    template <size_t... I>
    static void call(void **arguments, std::index_sequence<I...>) {
        kernel(*static_cast<typename Written<P>::Held *>(arguments[I])...);
    }
    static void call(void **arguments) { call(arguments, std::index_sequence_for<P...>()); }
    static const char *signature() {
        static const char text[] = {
            Written<P>::access..., '/', Written<P>::kind..., '/', char('0' + Written<P>::size)...,
            '\0'};
        return text;
    }
};

}  // namespace gramserve_shim

#define GRAMSERVE_SHIM_KERNEL(name)                                                               \
    extern "C" __attribute__((visibility("default"))) int gramserve_shim_launch_##name(           \
        void **arguments, unsigned grid, unsigned block, unsigned shared_bytes, int backward,     \
        char *message, unsigned long message_bytes, void **fault) {                               \
        return gramserve_shim::run(&gramserve_shim::Entry<&name>::call, arguments, grid, block,   \
                                   shared_bytes, backward, message, message_bytes, fault);        \
    }                                                                                             \
    extern "C" __attribute__((visibility("default"))) const char                                  \
        *gramserve_shim_signature_##name() {                                                      \
        return gramserve_shim::Entry<&name>::signature();                                         \
    }

#define GRAMSERVE_SHIM_CONSTANT(name)                                                             \
    extern "C" __attribute__((visibility("default"))) void *gramserve_shim_constant_##name(       \
        unsigned long *bytes) {                                                                   \
        *bytes = sizeof(name);                                                                    \
        return (void *)&name;                                                                     \
    }
