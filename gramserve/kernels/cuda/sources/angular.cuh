// Duals that are functions of the angle: rectifiers of any power, steps and signs.
//
// The formulas and their sources are those of gramserve/kernels/duals/angular.py. With k1 and k0
// the arc-cosine kernels of order 1 and 0, normalised to 1 at c = 1; k0 has an infinite slope
// there, so a cosine closer to 1 or -1 than its rounding is taken for that.
#ifndef GRAMSERVE_ANGULAR_CUH
#define GRAMSERVE_ANGULAR_CUH

#include "moments.cuh"

namespace gramserve {

// Twice k1(c), and a k0(c) if asked for.
//
// c + |c| is 2 max(c, 0) that lets through what is not finite, and takes no comparison.
template <bool SLOPE, class T> __device__ __forceinline__ Moments<T> orders_of(T c, T a) {
  const T positive = c + magnitude(c);
  if (!SLOPE) {
    const T rest = one_minus_magnitude(c);
    const T cubed = rest * root_in_unit(rest);
    return {multiply_add(cubed, order_one_of(rest, T(2)), positive), T(0)};
  }
  const T whole = T(1) - magnitude(c);
  const T rest = rest_of(whole);
  const T width = root_in_unit(rest);
  const T first = multiply_add(rest * width, order_one_of(whole, T(2)), positive);
  // A polynomial of what was not cut: of an infinite cosine it is infinite, and times 0 NaN.
  const T r = width * order_zero_of(whole);
  return {first, (c < T(0) ? r : T(1) - r) * a};
}

// k0(c).
template <class T> __device__ __forceinline__ T order_zero(T c) {
  const T whole = T(1) - magnitude(c);
  const T r = root_in_unit(rest_of(whole)) * order_zero_of(whole);
  return c < T(0) ? r : T(1) - r;
}

// a n k1(c) and a k0(c): the rectifier, and the arc-cosine kernel of order 1. Numbers: a.
struct Ramp {
  static constexpr int NUMBERS = 1;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T a = numbers[0];
    const Moments<T> orders = orders_of<SLOPE>(cosine_of(s, x, y), a);
    // In this order half of the product belongs to x alone.
    return {orders.value * (x.n * (T(0.5) * a) * y.n), orders.slope};
  }
};

// a n k1(c) + b S and a k0(c) + b: piecewise linear activations. Numbers: a, b.
struct Bent {
  static constexpr int NUMBERS = 2;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T a = numbers[0], b = numbers[1];
    const Moments<T> orders = orders_of<SLOPE>(cosine_of(s, x, y), a);
    return {multiply_add(orders.value, x.n * (T(0.5) * a) * y.n, s * b),
            SLOPE ? orders.slope + b : T(0)};
  }
};

// a k0(c) + b, with slope 0: step and sign. Numbers: a, b.
struct Stair {
  static constexpr int NUMBERS = 2;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    return {multiply_add(order_zero(cosine_of(s, x, y)), numbers[0], numbers[1]), T(0)};
  }
};

// a n^2 (3 k1 c + k0 (1 - c^2)) and 4 a n k1: the arc-cosine kernel of order 2. Numbers: a.
struct RampSquared {
  static constexpr int NUMBERS = 1;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T a = numbers[0];
    const T c = clipped(cosine_of(s, x, y));
    const Moments<T> orders = orders_of<true>(c, T(1));
    const T norm = x.n * y.n;
    const T value = multiply_add(orders.value * c, T(1.5), orders.slope * sine_squared(c));
    return {value * norm * norm * a, SLOPE ? orders.value * norm * (T(2) * a) : T(0)};
  }
};

// a n^M (A k0 + B sin / pi), and b n^(M - 1) times the same of the order below: the arc-cosine
// kernel of order M, at least 3. Numbers: a, b, two that are not used, the M + 1 coefficients of A
// and the M of B, and the M and M - 1 of the order below
// (gramserve.kernels.duals.angular.arc_cosine_polynomials).
template <int M> struct RampPower {
  static constexpr int NUMBERS = 4 * M + 4;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T c = clipped(cosine_of(s, x, y));
    const T step = order_zero(c);
    const T sine = root_in_unit(sine_squared(c)) * T(1 / PI);
    const T norm = x.n * y.n;
    const T lower = IntegerPower<M - 1>::of(norm);
    const T* rest = numbers + 4;
    const T* below = rest + 2 * M + 1;
    const T value = multiply_add(horner_of<M>(c, rest + M + 1), sine,
                                 horner_of<M + 1>(c, rest) * step);
    if (!SLOPE) return {value * numbers[0] * lower * norm, T(0)};
    const T slope = multiply_add(horner_of<M - 1>(c, below + M), sine,
                                 horner_of<M>(c, below) * step);
    return {value * numbers[0] * lower * norm, slope * numbers[1] * lower};
  }
};

// S / (n n') and T / (n n'), 0 where that is 0: the head that divides by the norms. No numbers.
struct Project {
  static constexpr int NUMBERS = 0;
  template <class T> static __device__ __forceinline__ T over(T s, T norm) {
    // Where the norm is 0 this is NaN only of what is not finite.
    return norm == T(0) ? s * T(0) : quotient(s, norm);
  }
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, T t, Roots<T> x, Roots<T> y) {
    const T norm = x.n * y.n;
    return {over(s, norm), SLOPE ? over(t, norm) : T(0)};
  }
};

}  // namespace gramserve

#endif
