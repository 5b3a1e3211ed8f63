// Elementary functions by polynomials that are exact to rounding.
//
// With u = 1 - |c|, the arc-cosine kernels of order 1 and 0 are k1(c) = max(c, 0) + u^(3/2) Q(u),
// and k0(c) = 1 - r for c >= 0, else r, with r = sqrt(u) R(u). Likewise asin(y) = y + y z P(z) with
// z = y^2 up to 1/4, and exp(v) = 2^k E(v - k log 2). All interpolate their functions at Chebyshev
// nodes, for float with errors below 8e-8 and for double below 3e-16; the vectors of the CPU engine
// have the same ones (gramserve/kernels/cpu/elementary.py).
#ifndef GRAMSERVE_ELEMENTARY_CUH
#define GRAMSERVE_ELEMENTARY_CUH

#include "real.cuh"

namespace gramserve {

// Q(u) times a literal, which the compiler multiplies into the coefficients.
__device__ __forceinline__ float order_one_of(float u, float scale) {
  return horner(u, scale * 0.3001054096005962f, scale * 0.01500735753322431f,
                scale * 0.0023878848222679814f, scale * 0.0006537140814849389f,
                scale * -1.0112491988163717e-05f, scale * 0.00016558550229587562f);
}
__device__ __forceinline__ double order_one_of(double u, double scale) {
  return horner(u, scale * 0.3001054387190353, scale * 0.015005271935981597,
                scale * 0.0024115615586107688, scale * 0.0005582319269919874,
                scale * 0.0001554153531936233, scale * 4.843370701406519e-05,
                scale * 1.6168495672590502e-05, scale * 6.273868204906117e-06,
                scale * 4.863271207255582e-07, scale * 4.781296999801139e-06,
                scale * -6.569713412240095e-06, scale * 8.748939096378084e-06,
                scale * -7.541540726598919e-06, scale * 4.51881604069071e-06,
                scale * -1.6148755497423985e-06, scale * 2.813695167153694e-07);
}

// R(u).
__device__ __forceinline__ float order_zero_of(float u) {
  return horner(u, 0.45015819426813136f, 0.03750964881421261f, 0.008495693310904667f,
                0.0021952971013080263f, 0.0016915896281724009f, -0.0007532058077452215f,
                0.000702718728677509f);
}
__device__ __forceinline__ double order_zero_of(double u) {
  return horner(u, 0.45015815807855303, 0.03751317983990087, 0.008440465461671388,
                0.002512043390392477, 0.0008547903362064491, 0.00031474841371315293,
                0.00012179309995148756, 5.0731412533351425e-05, 1.309086039958728e-05,
                3.2318558223146044e-05, -5.4547524452774663e-05, 0.00010880432314973807,
                -0.00014684409886035556, 0.00015019896042743733, -0.00010919390624263855,
                5.44724070492598e-05, -1.6631828062107084e-05, 2.4222154464628605e-06);
}

// P(z).
__device__ __forceinline__ float arcsine_series(float z) {
  return horner(z, 0.16666672414795305f, 0.07498855072600821f, 0.04500138006991017f,
                0.026554542206161328f, 0.038085023561092654f);
}
__device__ __forceinline__ double arcsine_series(double z) {
  return horner(z, 0.1666666666666665, 0.07500000000020764, 0.044642857103423646,
                0.03038194736709848, 0.02237204763174451, 0.017355259955786323,
                0.013929652902326633, 0.011875494382636922, 0.0078029494773533175,
                0.01603551434914882, -0.010749050339697808, 0.028169218060881414);
}

// E(v).
__device__ __forceinline__ float exponential_series(float v) {
  return horner(v, 1.00000007550023f, 1.00000001077804f, 0.4999886892528609f, 0.1666650519575811f,
                0.04191755754136265f, 0.008369155667697397f);
}
__device__ __forceinline__ double exponential_series(double v) {
  return horner(v, 1.0, 1.0, 0.5000000000000019, 0.1666666666666668, 0.04166666666648795,
                0.008333333333319589, 0.0013888888952352863, 0.00019841269890076403,
                2.4801485441561313e-05, 2.755724088722987e-06, 2.763265472252779e-07,
                2.5110049204818658e-08);
}

// (1 - exp(-v)) / v, up to 0.36.
__device__ __forceinline__ float decay_series(float v) {
  return horner(v, 0.9999999998155568f, -0.49999996308795386f, 0.16666546651845107f,
                -0.041652345987567736f, 0.008255616041445736f, -0.0011916411817301565f);
}
__device__ __forceinline__ double decay_series(double v) {
  return horner(v, 1.0, -0.5, 0.16666666666666557, -0.04166666666663062, 0.008333333332646124,
                -0.001388888880051368, 0.00019841262066406897, -2.480113117399273e-05,
                2.7540009513719855e-06, -2.715122917822724e-07, 1.9685452851060783e-08,
                1.0438872407569649e-09);
}

// sinh(t) and cosh(t) of t in [-1/4, 1/4], by their Taylor series.
template <class T> struct Hyperbolic {
  T sine;
  T cosine;
};
__device__ __forceinline__ Hyperbolic<float> hyperbolic(float t) {
  const float z = t * t;
  return {t * horner(z, 1.0f, 1.0f / 6, 1.0f / 120, 1.0f / 5040),
          horner(z, 1.0f, 1.0f / 2, 1.0f / 24, 1.0f / 720)};
}
__device__ __forceinline__ Hyperbolic<double> hyperbolic(double t) {
  const double z = t * t;
  return {t * horner(z, 1.0, 1.0 / 6, 1.0 / 120, 1.0 / 5040, 1.0 / 362880, 1.0 / 39916800),
          horner(z, 1.0, 1.0 / 2, 1.0 / 24, 1.0 / 720, 1.0 / 40320, 1.0 / 3628800,
                 1.0 / 479001600)};
}

// Where exp leaves the normal numbers, below and above.
template <class T> struct ExponentialRange;
template <> struct ExponentialRange<float> {
  static constexpr float SMALLEST = -87.3f, LARGEST = 88.0f;
};
template <> struct ExponentialRange<double> {
  static constexpr double SMALLEST = -708.3, LARGEST = 709.0;
};

// exp(v) of v up to the largest; about 1e-38 or 1e-308 where it would be less. NaN of what is not
// finite, negative infinity included.
template <class T> __device__ __forceinline__ T exponential(T v) {
  const T least = ExponentialRange<T>::SMALLEST, rounder = Format<T>::ROUNDER;
  const T inside = least < v ? v : least;
  const T power = multiply_add(inside, T(1.4426950408889634), rounder);
  // One multiply-add is exact to k 2e-9 in float, and k is small where exp is not.
  const T rest = multiply_add(power - rounder, T(-0.6931471805599453), inside);
  // The product with 0 is NaN where the argument overflowed: no bound may hide that.
  return multiply_add(v, T(0), times_power_of_two(exponential_series(rest), power));
}

// exp(v), infinity where that is no number of the type.
template <class T> __device__ __forceinline__ T bounded_exponential(T v) {
  const T most = ExponentialRange<T>::LARGEST;
  const T value = exponential(v < most ? v : most);
  // What is not a number is not below the largest either.
  return v < most ? value : v * Format<T>::LARGEST;
}

// exp(-v) and 1 - exp(-v) of v from 0 on, both exact to rounding.
template <class T> struct Decay {
  T left;
  T gone;
};
template <class T> __device__ __forceinline__ Decay<T> decay(T v) {
  const T value = exponential(-v);
  const T near = T(0.36);
  const T inside = v < near ? v : near;
  return {value, v < near ? inside * decay_series(inside) : T(1) - value};
}

// asin(t) of t in [0, 1], given rest = 1 - t to its own last digit.
template <class T> __device__ __forceinline__ T arcsine(T t, T rest) {
  const bool near = t < T(0.5);
  const T far_square = rest * T(0.5);
  const T z = near ? t * t : far_square;
  const T y = near ? t : root_in_unit(far_square);
  const T value = multiply_add(y * z, arcsine_series(z), y);
  return near ? value : multiply_add(value, T(-2), T(0.5 * PI));
}

}  // namespace gramserve

#endif
