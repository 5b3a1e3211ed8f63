// Duals of polynomials: powers of the covariance, with weights that depend on the variances.
//
// The formulas and their sources are those of gramserve/kernels/duals/polynomials.py.
#ifndef GRAMSERVE_POLYNOMIALS_CUH
#define GRAMSERVE_POLYNOMIALS_CUH

#include "moments.cuh"

namespace gramserve {

// The terms of powers J to DEGREE of S, from the highest down; G_J has (DEGREE - J) / 2 + 1
// coefficients, which begin at number AT.
template <int DEGREE, int J> struct SeriesTerms {
  static constexpr int COUNT = (DEGREE - J) / 2 + 1;
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, T mine, T theirs, const T* numbers) {
    const Moments<T> higher =
        SeriesTerms<DEGREE, J + 1>::template take<SLOPE>(s, mine, theirs, numbers + COUNT);
    const T weight = horner_of<COUNT>(mine, numbers) * horner_of<COUNT>(theirs, numbers);
    return {multiply_add(higher.value, s, weight),
            SLOPE ? multiply_add(higher.slope, s, higher.value) : T(0)};
  }
};
template <int DEGREE> struct SeriesTerms<DEGREE, DEGREE> {
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, T, T, const T* numbers) {
    // A covariance that is not finite shows, whatever its powers weigh.
    return {multiply_add(s, T(0), numbers[0] * numbers[0]), T(0)};
  }
};

// sum_j S^j G_j(q) G_j(q') and its derivative by S, j up to DEGREE; G_j are polynomials of q - a.
// Numbers: a, three that are not used, and the coefficients of G_0, G_1, ..., the constant first.
template <int DEGREE> struct Series {
  static constexpr int NUMBERS = 4 + (DEGREE / 2 + 1) * ((DEGREE + 1) / 2 + 1);
  template <bool SLOPE, class T>
  static __device__ __forceinline__ Moments<T> take(T s, Roots<T> x, Roots<T> y,
                                                    const T* numbers) {
    const T mine = multiply_add(x.n, x.n, -numbers[0]);
    const T theirs = multiply_add(y.n, y.n, -numbers[0]);
    return SeriesTerms<DEGREE, 0>::template take<SLOPE>(s, mine, theirs, numbers + 4);
  }
};

}  // namespace gramserve

#endif
