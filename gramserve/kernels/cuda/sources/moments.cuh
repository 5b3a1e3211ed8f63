// What dual activations are given and what they return.
#ifndef GRAMSERVE_MOMENTS_CUH
#define GRAMSERVE_MOMENTS_CUH

#include "elementary.cuh"

namespace gramserve {

// Of a variance q: n = sqrt(q), and i = 1 / n, 0 where n is 0. One load of 8 or 16 bytes.
template <class T> struct alignas(2 * sizeof(T)) Roots {
  T n;
  T i;
};

// S' = k(S, q, q') and the slope kd, with which T' = T kd.
template <class T> struct Moments {
  T value;
  T slope;
};

// The cosine, not clipped; 0 where a variance is 0. The smaller product first: it stays near n'.
template <class T> __device__ __forceinline__ T cosine_of(T s, Roots<T> x, Roots<T> y) {
  return s * x.i * y.i;
}

// 1 - |c|, 0 where that is less than the rounding of a cosine. NaN stays NaN, infinity gives 0.
template <class T> __device__ __forceinline__ T rest_of(T whole) {
  return whole < Format<T>::COSINE_ROUNDING ? T(0) : whole;
}

// 1 - c^2 from 1 - |c|, which is exact near 1.
template <class T> __device__ __forceinline__ T sine_squared(T c) {
  const T size = magnitude(c);
  return rest_of(T(1) - size) * (T(1) + size);
}

// n n' - S, at least 0, rounded once; NaN where S is not finite. Also 0 where S is n n' as that is
// rounded: an item compared with itself.
template <class T> __device__ __forceinline__ T gap_of(T s, T n, T n2) {
  const T product = n * n2;
  const T gap = multiply_add(n, n2, -s);
  return s < product ? gap : s * T(0);
}

// q + q' - 2 S = (n - n')^2 + 2 (n n' - S), at least 0: nothing cancels.
template <class T> __device__ __forceinline__ T apart_of(T s, T n, T n2) {
  const T between = n - n2;
  return multiply_add(between, between, T(2) * gap_of(s, n, n2));
}

}  // namespace gramserve

#endif
