// Duals of sines, cosines and exponentials.
//
// The formulas and their sources are those of gramserve/kernels/duals/waves.py.
#ifndef GRAMSERVE_WAVES_CUH
#define GRAMSERVE_WAVES_CUH

#include "moments.cuh"

namespace gramserve {

// The dual of a sine or cosine. Numbers: half of the square of the height, the square of the
// frequency, and the shares of hyperbolic cosine and sine.
struct Wave {
  static constexpr int NUMBERS = 4;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T b = numbers[1], even = numbers[2], odd = numbers[3];
    const T size = magnitude(s);
    const T scale = exponential(apart_of(size, x.n, y.n) * b * T(-0.5)) * numbers[0];
    const Decay<T> falling = decay(size * b * T(2));
    const T above = T(1) + falling.left;
    const T below = s < T(0) ? -falling.gone : falling.gone;
    const T value = scale * multiply_add(even, above, odd * below);
    return {value, SLOPE ? scale * b * multiply_add(even, below, odd * above) : T(0)};
  }
};

// exp(-a (q + q' - 2 S)) and b times that: the radial kernel. Numbers: a, b.
struct Distance {
  static constexpr int NUMBERS = 2;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T value = exponential(apart_of(s, x.n, y.n) * -numbers[0]);
    return {value, SLOPE ? value * numbers[1] : T(0)};
  }
};

// a exp(e (q + q' + 2 S)) and b times that: the exponential. Numbers: a, b, e.
struct Growth {
  static constexpr int NUMBERS = 3;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T value = bounded_exponential(apart_of(-s, x.n, y.n) * numbers[2]) * numbers[0];
    return {value, SLOPE ? value * numbers[1] : T(0)};
  }
};

}  // namespace gramserve

#endif
