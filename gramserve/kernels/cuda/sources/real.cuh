// Arithmetic of float and double, one name for both: what differs between a card and a CPU is here.
//
// Roots and inverses of IEEE 754 take branches for numbers at the ends of the format, which cost
// more than the rest of a dual. Here are those without: in float the approximate instructions of
// the card, off by one or two units in the last place; in double steps of Newton from its seeds.
#ifndef GRAMSERVE_REAL_CUH
#define GRAMSERVE_REAL_CUH

namespace gramserve {

inline constexpr double PI = 3.14159265358979323846;

// Numbers of the format.
template <class T> struct Format;
template <> struct Format<float> {
  // The error of a cosine near 1 after some layers, five times the machine epsilon: one closer to
  // 1 or -1 than that is taken for 1 or -1.
  static constexpr float COSINE_ROUNDING = 5.0f * 1.1920928955078125e-7f;
  // 1.5 2^23 rounds what is added to it to an integer, which its last bits then are.
  static constexpr float ROUNDER = 12582912.0f;
  static constexpr float SMALLEST_NORMAL = 1.1754943508222875e-38f;
  static constexpr float LARGEST = 3.4028234663852886e38f;
};
template <> struct Format<double> {
  static constexpr double COSINE_ROUNDING = 5.0 * 2.220446049250313e-16;
  static constexpr double ROUNDER = 6755399441055744.0;  // 1.5 2^52
  static constexpr double SMALLEST_NORMAL = 2.2250738585072014e-308;
  static constexpr double LARGEST = 1.7976931348623157e308;
};

// a b + c with one rounding.
__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double multiply_add(double a, double b, double c) { return fma(a, b, c); }

__device__ __forceinline__ float magnitude(float x) { return fabsf(x); }
__device__ __forceinline__ double magnitude(double x) { return fabs(x); }

// |x| with the sign of another number.
__device__ __forceinline__ float with_sign_of(float x, float other) {
  return copysignf(x, other);
}
__device__ __forceinline__ double with_sign_of(double x, double other) {
  return copysign(x, other);
}

// The bits of a number, and the number with these bits.
#if defined(__CUDA_ARCH__)
__device__ __forceinline__ unsigned bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ unsigned long long bits_of(double x) {
  return static_cast<unsigned long long>(__double_as_longlong(x));
}
__device__ __forceinline__ float number_of(unsigned bits) { return __uint_as_float(bits); }
__device__ __forceinline__ double number_of(unsigned long long bits) {
  return __longlong_as_double(static_cast<long long>(bits));
}
#else
template <class To, class From> __device__ __forceinline__ To reinterpreted(From from) {
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
__device__ __forceinline__ unsigned bits_of(float x) { return reinterpreted<unsigned>(x); }
__device__ __forceinline__ unsigned long long bits_of(double x) {
  return reinterpreted<unsigned long long>(x);
}
__device__ __forceinline__ float number_of(unsigned bits) { return reinterpreted<float>(bits); }
__device__ __forceinline__ double number_of(unsigned long long bits) {
  return reinterpreted<double>(bits);
}
#endif

// 1 / sqrt(x) and 1 / x of a normal number to 20 bits, of which Newton's steps make all.
__device__ __forceinline__ double seed_of_inverse_root(double x) {
#if defined(__CUDA_ARCH__)
  double y;
  asm("rsqrt.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
  return y;
#else
  return number_of(bits_of(1.0 / sqrt(x)) & ~0xffffffffull);
#endif
}
__device__ __forceinline__ double seed_of_reciprocal(double x) {
#if defined(__CUDA_ARCH__)
  double y;
  asm("rcp.approx.ftz.f64 %0, %1;" : "=d"(y) : "d"(x));
  return y;
#else
  return number_of(bits_of(1.0 / x) & ~0xffffffffull);
#endif
}

// The square root of x in [0, 1], off by no more than the rounding of 1. One instruction in float.
__device__ __forceinline__ float root_in_unit(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return sqrtf(x);
#endif
}
__device__ __forceinline__ double root_in_unit(double x) {
  // Goldschmidt's iteration. What is added keeps the seed finite at 0.
  const double seed = seed_of_inverse_root(x + 1e-300);
  const double near = x * seed, half = 0.5 * seed;
  const double error = fma(-near, half, 0.5);
  const double nearer = fma(near, error, near);
  return fma(fma(-nearer, nearer, x), fma(half, error, half), nearer);
}

// 1 / sqrt(x) of a normal number; of 0 and infinity not a finite one.
__device__ __forceinline__ float inverse_root(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / sqrtf(x);
#endif
}
__device__ __forceinline__ double inverse_root(double x) {
  const double seed = seed_of_inverse_root(x);
  const double error = fma(-x * seed, seed, 1.0);
  return fma(seed * error, fma(error, 0.375, 0.5), seed);
}

// The same, and 0 where x is 0 or smaller than any normal number; NaN stays NaN.
template <class T> __device__ __forceinline__ T inverse_root_or_zero(T x) {
  return x < Format<T>::SMALLEST_NORMAL ? T(0) : inverse_root(x);
}

// 1 / x of a normal number up to a quarter of the largest.
__device__ __forceinline__ float reciprocal(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return 1.0f / x;
#endif
}
__device__ __forceinline__ double reciprocal(double x) {
  const double seed = seed_of_reciprocal(x);
  const double nearer = fma(fma(-x, seed, 1.0), seed, seed);
  return fma(fma(-x, nearer, 1.0), nearer, nearer);
}

// a / b, 1 where both are the same: a step after the product with the inverse sees to that. The
// inverse is the one that takes all numbers.
__device__ __forceinline__ float quotient(float a, float b) {
#if defined(__CUDA_ARCH__)
  float inverse;
  asm("rcp.approx.f32 %0, %1;" : "=f"(inverse) : "f"(b));
#else
  const float inverse = 1.0f / b;
#endif
  const float near = a * inverse;
  return fmaf(fmaf(-near, b, a), inverse, near);
}
__device__ __forceinline__ double quotient(double a, double b) { return a / b; }

// 1 - |c| where that is positive, else 0; also 0 of what is not a number, which the caller shows.
__device__ __forceinline__ float one_minus_magnitude(float c) {
#if defined(__CUDA_ARCH__)
  return __saturatef(1.0f - fabsf(c));  // one instruction
#else
  const float rest = 1.0f - fabsf(c);
  return rest > 0.0f ? rest : 0.0f;
#endif
}
__device__ __forceinline__ double one_minus_magnitude(double c) {
  const double rest = 1.0 - fabs(c);
  return bits_of(rest) >> 63 ? 0.0 : rest;  // faster than a comparison of numbers
}

// c moved into [-1, 1]; NaN where it is not finite, because the product with 0 then is.
__device__ __forceinline__ float clipped(float c) {
  return fmaf(c, 0.0f, fminf(fmaxf(c, -1.0f), 1.0f));
}
__device__ __forceinline__ double clipped(double c) {
  const double above = c < -1.0 ? -1.0 : c;
  return fma(c, 0.0, above > 1.0 ? 1.0 : above);
}

// value 2^k where the last bits of power are the integer k.
__device__ __forceinline__ float times_power_of_two(float value, float power) {
  return number_of(bits_of(value) + (bits_of(power) << 23));
}
__device__ __forceinline__ double times_power_of_two(double value, double power) {
  return number_of(bits_of(value) + (bits_of(power) << 52));
}

// c0 + x (c1 + x (c2 + ...)): one multiply-add for each coefficient but the last.
template <class T> __device__ __forceinline__ T horner(T, T last) { return last; }
template <class T, class... Rest>
__device__ __forceinline__ T horner(T x, T first, Rest... rest) {
  return multiply_add(horner(x, T(rest)...), x, first);
}

// The same of COUNT coefficients in memory, the constant first; 0 without any.
template <int COUNT, class T>
__device__ __forceinline__ T horner_of(T x, const T* coefficients) {
  if (COUNT == 0) return T(0);
  T value = coefficients[COUNT > 0 ? COUNT - 1 : 0];
#pragma unroll
  for (int k = COUNT - 2; k >= 0; --k) value = multiply_add(value, x, coefficients[k]);
  return value;
}

// x^M by repeated squaring.
template <int M> struct IntegerPower {
  template <class T> static __device__ __forceinline__ T of(T x) {
    const T half = IntegerPower<M / 2>::of(x);
    return M % 2 ? half * half * x : half * half;
  }
};
template <> struct IntegerPower<1> {
  template <class T> static __device__ __forceinline__ T of(T x) { return x; }
};
template <> struct IntegerPower<0> {
  template <class T> static __device__ __forceinline__ T of(T) { return T(1); }
};

}  // namespace gramserve

#endif
