// Duals that are functions of the angle: rectifiers of any power, steps and signs.
//
// The formulas and their sources are those of gramserve/kernels/duals/angular.py. With k1 and k0
// the arc-cosine kernels of order 1 and 0, normalised to 1 at c = 1; k0 has an infinite slope
// there, so a cosine closer to 1 or -1 than its rounding is taken for that.
#ifndef GRAMSERVE_ANGULAR_CUH
#define GRAMSERVE_ANGULAR_CUH

#include "moments.cuh"

namespace gramserve {

// Twice k1(c), without comparisons: c + |c| is 2 max(c, 0), and lets through what is not finite.
template <class T> __device__ __forceinline__ T twice_order_one(T c) {
  const T rest = one_minus_magnitude(c);
  return multiply_add(rest * root_in_unit(rest), order_one_of(rest, T(2)), c + magnitude(c));
}

// k0(c) - 1/2 = asin(c) / pi, which is odd: 1/2 - r with the sign of c.
template <class T> __device__ __forceinline__ T centred_order_zero(T c) {
  const T whole = T(1) - magnitude(c);
  // A polynomial of what was not cut: of an infinite cosine it is infinite, and times 0 NaN.
  const T width = root_in_unit(rest_of(whole));
  return with_sign_of(multiply_add(-width, order_zero_of(whole), T(0.5)), c);
}

// Both, with one root.
template <class T> struct Orders {
  T twice_one;
  T centred_zero;
};
template <class T> __device__ __forceinline__ Orders<T> orders_of(T c) {
  const T whole = T(1) - magnitude(c);
  const T rest = rest_of(whole);
  const T width = root_in_unit(rest);
  return {multiply_add(rest * width, order_one_of(whole, T(2)), c + magnitude(c)),
          with_sign_of(multiply_add(-width, order_zero_of(whole), T(0.5)), c)};
}

// a n k1(c) and a k0(c): the rectifier, and the arc-cosine kernel of order 1. Numbers: a.
struct Ramp {
  static constexpr int NUMBERS = 1;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T c = cosine_of(s, x, y);
    // In this order half of the product belongs to x alone.
    const T half = T(0.5) * numbers[0], norm = x.n * half * y.n;
    if (!SLOPE) return {twice_order_one(c) * norm, T(0)};
    const Orders<T> orders = orders_of(c);
    return {orders.twice_one * norm, multiply_add(orders.centred_zero, numbers[0], half)};
  }
};

// a n k1(c) + b S and a k0(c) + b: piecewise linear activations. Numbers: a, b.
struct Bent {
  static constexpr int NUMBERS = 2;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T c = cosine_of(s, x, y), b = numbers[1];
    const T half = T(0.5) * numbers[0], norm = x.n * half * y.n;
    if (!SLOPE) return {multiply_add(twice_order_one(c), norm, s * b), T(0)};
    const Orders<T> orders = orders_of(c);
    return {multiply_add(orders.twice_one, norm, s * b),
            multiply_add(orders.centred_zero, numbers[0], half + b)};
  }
};

// a k0(c) + b, with slope 0: step and sign. Numbers: a, b.
struct Stair {
  static constexpr int NUMBERS = 2;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T middle = multiply_add(numbers[0], T(0.5), numbers[1]);
    return {multiply_add(centred_order_zero(cosine_of(s, x, y)), numbers[0], middle), T(0)};
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
    const Orders<T> orders = orders_of(c);
    const T norm = x.n * y.n;
    const T zero = orders.centred_zero + T(0.5);
    const T value = multiply_add(orders.twice_one * c, T(1.5), zero * sine_squared(c));
    return {value * norm * norm * a, SLOPE ? orders.twice_one * norm * (T(2) * a) : T(0)};
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
    const T step = centred_order_zero(c) + T(0.5);
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
