// Kernels on patches that are not expectations: those of convolutional kernel networks, and
// normalisation.
//
// The formulas and their sources are those of gramserve/kernels/duals/patches.py.
#ifndef GRAMSERVE_PATCHES_CUH
#define GRAMSERVE_PATCHES_CUH

#include "moments.cuh"

namespace gramserve {

// S / sqrt((q + a)(q' + a)) and the factor, 0 where that is 0 / 0. Numbers: a.
struct Normalise {
  static constexpr int NUMBERS = 1;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    // One by one: the product of both may be beyond the numbers.
    const T mine = inverse_root_or_zero(multiply_add(x.n, x.n, numbers[0]));
    const T theirs = inverse_root_or_zero(multiply_add(y.n, y.n, numbers[0]));
    return {s * mine * theirs, SLOPE ? mine * theirs : T(0)};
  }
};

// n exp(a c + b) and a exp(a c + b). Numbers: a, b.
struct Exponential {
  static constexpr int NUMBERS = 2;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T value = exponential(multiply_add(cosine_of(s, x, y), numbers[0], numbers[1]));
    return {value * (x.n * y.n), SLOPE ? value * numbers[0] : T(0)};
  }
};

// n c^DEGREE and a c^(DEGREE - 1). Numbers: a, which is the degree.
template <int DEGREE> struct Power {
  static constexpr int NUMBERS = 1;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T c = clipped(cosine_of(s, x, y));
    const T below = IntegerPower<DEGREE - 1>::of(c);
    return {below * c * (x.n * y.n), SLOPE ? below * numbers[0] : T(0)};
  }
};
template <> struct Power<0> {
  static constexpr int NUMBERS = 1;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y, const T*) {
    // 1 of every cosine that is a number.
    const T one = multiply_add(clipped(cosine_of(s, x, y)), T(0), T(1));
    return {one * (x.n * y.n), T(0)};
  }
};

// S^2 and 2 S. No numbers.
struct Square {
  static constexpr int NUMBERS = 0;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T>, Roots<T>, const T*) {
    return {s * s, SLOPE ? s + s : T(0)};
  }
};

}  // namespace gramserve

#endif
