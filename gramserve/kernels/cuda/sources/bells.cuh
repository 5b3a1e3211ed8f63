// Duals of the error function and of what is built of it, and of the Gaussian and Gabor bells.
//
// The formulas and their sources are those of gramserve/kernels/duals/bells.py. All share a
// triangle with the legs b S and leg, leg^2 = (1 + b q)(1 + b q') - (b S)^2
// = 1 + b (q + q') + (b n sin theta)^2: no term cancels.
#ifndef GRAMSERVE_BELLS_CUH
#define GRAMSERVE_BELLS_CUH

#include "moments.cuh"

namespace gramserve {

// That triangle, over the larger norm where that is above 1, so that no square overflows.
template <class T> struct Triangle {
  T c, size, sine;  // cosine, its magnitude, and sin^2 theta
  T shrink, mine, theirs;  // one over the larger norm, and both norms times that
  T cross, square, inverse;  // b n, leg^2 and 1 / leg, over the larger norm, its square, inverse

  __device__ __forceinline__ Triangle(T s, Roots<T> x, Roots<T> y, T b) {
    c = clipped(cosine_of(s, x, y));
    size = magnitude(c);
    // From the gap, because 1 - |c| has lost too much where variances are large.
    sine = gap_of(magnitude(s), x.n, y.n) * x.i * y.i * (T(1) + size);
    const T larger = x.n < y.n ? y.n : x.n;
    shrink = reciprocal(larger < T(1) ? T(1) : larger);
    mine = x.n * shrink;
    theirs = y.n * shrink;
    cross = b * mine * y.n;
    square = shrink * shrink + b * (mine * mine + theirs * theirs) + cross * cross * sine;
    inverse = inverse_root(square);
  }

  // The angle asin(b S / sqrt((1 + b q)(1 + b q'))), of the sign of S.
  __device__ __forceinline__ T angle() const {
    const T opposite = cross * size;
    const T whole = multiply_add(opposite, opposite, square);
    const T hypotenuse = inverse_root(whole);
    const T t = opposite * hypotenuse;
    // Two inverses: their product may be beyond the smallest number of float.
    const T rest = square * hypotenuse * reciprocal(multiply_add(whole, hypotenuse, opposite));
    // Where the square overflowed, t is 0 and the rest NaN, which must not be lost.
    const T value = multiply_add(rest, T(0), arcsine(t > T(1) ? T(1) : t, rest));
    return c < T(0) ? -value : value;
  }
};

// a asin(b S / h) + e and f / leg, h^2 = (1 + b q)(1 + b q'): the error function, shifted.
// Numbers: a, b, e, f.
struct ErrorFunction {
  static constexpr int NUMBERS = 4;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const Triangle<T> triangle(s, x, y, numbers[1]);
    return {multiply_add(triangle.angle(), numbers[0], numbers[2]),
            SLOPE ? numbers[3] * (triangle.shrink * triangle.inverse) : T(0)};
  }
};

// The dual of z Phi(z), gelu. No numbers.
struct ErrorUnit {
  static constexpr int NUMBERS = 0;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y, const T*) {
    const Triangle<T> triangle(s, x, y, T(1));
    const T both = multiply_add(triangle.angle(), T(0.5 / PI), T(0.25));
    const T sine = root_in_unit(triangle.sine);
    const T across = x.n * y.n * sine;
    const T rest = reciprocal(multiply_add(x.n, x.n, T(1))) +
                   reciprocal(multiply_add(y.n, y.n, T(1)));
    const T height = triangle.cross * triangle.inverse;
    const T lean = triangle.c * height;
    // S times the rest is near 1; times the slope it would leave float before.
    const T value = multiply_add(across, height * sine, lean * (s * rest)) * T(0.5 / PI);
    if (!SLOPE) return {multiply_add(s, both, value), T(0)};
    const T inverse = triangle.shrink * triangle.inverse;
    const T slope = multiply_add(lean * T(0.5 / PI), multiply_add(inverse, inverse, rest), both);
    return {multiply_add(s, both, value), slope};
  }
};

// a / leg and f S / leg^3: exp of a negative square. Numbers: a, b, one that is not used, f.
struct Bell {
  static constexpr int NUMBERS = 4;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const Triangle<T> triangle(s, x, y, numbers[1]);
    const T inverse = triangle.shrink * triangle.inverse;
    if (!SLOPE) return {inverse * numbers[0], T(0)};
    // Each factor is at most 1, but for 1 / leg; their product would leave float before.
    const T mine = triangle.c * triangle.mine * triangle.inverse;
    const T theirs = triangle.theirs * triangle.inverse;
    return {inverse * numbers[0], mine * theirs * numbers[3] * inverse};
  }
};

// The dual of exp(-z^2) sin(z), gabor. Numbers: one that is not used, b = 2.
struct RippledBell {
  static constexpr int NUMBERS = 2;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const Triangle<T> triangle(s, x, y, numbers[1]);
    const T inverse = triangle.inverse;
    const T inner = triangle.mine * triangle.mine + triangle.theirs * triangle.theirs;
    const T outer = triangle.shrink * triangle.shrink;
    const T t = triangle.c * (triangle.mine * inverse) * (triangle.theirs * inverse);
    const T height = triangle.cross * inverse;
    const T over_square = inverse * inverse;
    const T spread = multiply_add(height * height, triangle.sine, inner * over_square);
    const T scale = exponential(spread * T(-0.5)) * triangle.shrink * inverse;
    const Hyperbolic<T> at = hyperbolic(t);
    if (!SLOPE) return {scale * at.sine, T(0)};
    const T odd = at.sine * (t * T(4)) * (T(1) + (outer + inner) * over_square);
    const T even = multiply_add(t * T(8), t, outer * over_square);
    return {scale * at.sine, scale * multiply_add(at.cosine, even, odd)};
  }
};

}  // namespace gramserve

#endif
