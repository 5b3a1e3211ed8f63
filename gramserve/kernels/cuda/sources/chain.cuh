// Layers that stay on a tile: convolutions that keep the size, activations, forks of these.
//
// A network between two couplings of tiles is a type, Chain<...>, of such layers. Each layer says
// how many numbers it takes from constant memory and how many variances of an item; a Cursor
// counts both along.
#pragma once

#include "tile.cuh"
#include "duals.cuh"

// Room for the numbers of a network: set by the host, so that other weights compile nothing.
inline constexpr int NUMBERS_ROOM = 4096;
__constant__ float numbers_f32[NUMBERS_ROOM];
__constant__ double numbers_f64[NUMBERS_ROOM];

namespace gramserve {

template <class T>
struct Constant;
template <>
struct Constant<float> {
  static __device__ __forceinline__ const float* numbers() { return numbers_f32; }
};
template <>
struct Constant<double> {
  static __device__ __forceinline__ const double* numbers() { return numbers_f64; }
};

// Variances of a layer begin at multiples of this, so that those of neighbouring columns can be
// loaded together.
inline constexpr int VARIANCE_STEP = 4;

template <class S>
__device__ constexpr int positional_variances() {
  return (S::POSITIONS + VARIANCE_STEP - 1) / VARIANCE_STEP * VARIANCE_STEP;
}

// What a chain has taken so far.
struct Cursor {
  int number;
  int variance;
};

// What the layers of a chain read beside the tile.
//
// x has the variances of an item layer by layer. y has the rows of every layer twice, one copy
// behind the other, so that row j + a of it is row (j + a) % H of the item.
template <class S>
struct Surroundings {
  using T = typename S::Scalar;
  const Roots<T>* x;
  const Roots<T>* y;
  Place<S> place;
  Offset offset;
  int y_column[S::COLUMNS]; // a W + (k + b) % W for each column k of this lane

  __device__ __forceinline__ void move_to(int a, int b, bool is_same) {
    offset = offset_of<S>(a, b, is_same);
#pragma unroll
    for (int c = 0; c < S::COLUMNS; ++c) {
      const int column = place.column + c;
      y_column[c] = a * S::WIDTH + column + b - (column >= offset.column_seam ? S::WIDTH : 0);
    }
  }
};

// w^2 n sum_u S[p + u, p' + u] + b^2; T likewise, without the bias, plus S' where it is trained.
// Also a dense layer, with one tap.
template <class Down, class Across, bool TRAINED>
struct Conv {
  static constexpr int NUMBERS = 2;
  template <class S>
  static __device__ constexpr int variances() {
    return 0;
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor at) {
    using T = typename S::Scalar;
    const T factor = Constant<T>::numbers()[at.number];
    const T bias = Constant<T>::numbers()[at.number + 1];
    if constexpr (Down::TAPS > 1 || Across::TAPS > 1) {
      const AcrossSum<S, Across> across(around.place, around.offset);
      box_filter<S, Down, Across>(pair.s, around.offset, across);
      if constexpr (TANGENT) box_filter<S, Down, Across>(pair.t, around.offset, across);
    }
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) {
        pair.s.at[j][c] = fma(pair.s.at[j][c], factor, bias);
        if constexpr (TANGENT)
          pair.t.at[j][c] = fma(pair.t.at[j][c], factor, TRAINED ? pair.s.at[j][c] : T(0));
      }
  }
};

// Unshared weights: different positions have nothing in common.
struct Alone {
  static constexpr int NUMBERS = 0;
  template <class S>
  static __device__ constexpr int variances() {
    return 0;
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor) {
    using T = typename S::Scalar;
    if (around.offset.a == 0 && around.offset.b == 0) return;
    pair.s.fill(T(0));
    if constexpr (TANGENT) pair.t.fill(T(0));
  }
};

// An activation: S' = k(S, q, q'), T' = T kd, with one variance at every position.
template <class Functor, bool MARKS = true>
struct Dual {
  static constexpr int NUMBERS = Functor::NUMBERS;
  template <class S>
  static __device__ constexpr int variances() {
    return positional_variances<S>();
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor at) {
    using T = typename S::Scalar;
    const T* numbers = Constant<T>::numbers() + at.number;
    const Roots<T>* mine = around.x + at.variance + around.place.column;
    const Roots<T>* theirs = around.y + 2 * at.variance;
    if (MARKS && around.offset.any_marked) mark(pair, around, mine);
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j) {
      const auto x = load_whole(
          reinterpret_cast<const Pack<Roots<T>, S::COLUMNS>*>(mine + j * S::WIDTH));
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) {
        const Roots<T> y = load_whole(theirs + j * S::WIDTH + around.y_column[c]);
        const Moments<T> found =
            Functor::template take<TANGENT>(pair.s.at[j][c], x.at[c], y, numbers);
        pair.s.at[j][c] = found.value;
        if constexpr (TANGENT) pair.t.at[j][c] *= found.slope;
      }
    }
  }

  // Rounding of S differs from that of q: on x is x', p = p' they are one number.
  template <class S, bool TANGENT>
  static __device__ __forceinline__ void mark(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around,
      const Roots<typename S::Scalar>* mine) {
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) {
        const auto n = mine[j * S::WIDTH + c].n;
        if (around.offset.is_marked) pair.s.at[j][c] = n * n;
      }
  }
};

// S' and T' of all entries of a tile, from one pair of roots.
template <class Functor, class S, bool TANGENT, class T = typename S::Scalar>
__device__ __forceinline__ void take_everywhere(
    Pair<S, TANGENT>& pair, Roots<T> x, Roots<T> y, const T* numbers) {
#pragma unroll
  for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
    for (int c = 0; c < S::COLUMNS; ++c) {
      const Moments<T> found = Functor::template take<TANGENT>(pair.s.at[j][c], x, y, numbers);
      pair.s.at[j][c] = found.value;
      if constexpr (TANGENT) pair.t.at[j][c] *= found.slope;
    }
}

// The same with one variance for all positions of an item: their mean.
template <class Functor>
struct DualOfMean {
  static constexpr int NUMBERS = Functor::NUMBERS;
  template <class S>
  static __device__ constexpr int variances() {
    return VARIANCE_STEP;
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor at) {
    using T = typename S::Scalar;
    const T* numbers = Constant<T>::numbers() + at.number;
    const Roots<T> x = around.x[at.variance], y = around.y[2 * at.variance];
    take_everywhere<Functor>(pair, x, y, numbers);
  }
};

// An activation without variances: S' = S^2.
template <class Functor>
struct DualAlone {
  static constexpr int NUMBERS = Functor::NUMBERS;
  template <class S>
  static __device__ constexpr int variances() {
    return 0;
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>&, Cursor at) {
    using T = typename S::Scalar;
    const T* numbers = Constant<T>::numbers() + at.number;
    const Roots<T> none = {T(1), T(1)};
    take_everywhere<Functor>(pair, none, none, numbers);
  }
};

// S and T over n n': the projected head. It has the variances of the activation before it.
struct Projection {
  static constexpr int NUMBERS = 0;
  template <class S>
  static __device__ constexpr int variances() {
    return 0;
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor at) {
    using T = typename S::Scalar;
    const int variance = at.variance - positional_variances<S>();
    const Roots<T>* mine = around.x + variance + around.place.column;
    const Roots<T>* theirs = around.y + 2 * variance;
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) {
        const T by = mine[j * S::WIDTH + c].i * theirs[j * S::WIDTH + around.y_column[c]].i;
        pair.s.at[j][c] *= by;
        if constexpr (TANGENT) pair.t.at[j][c] *= by;
      }
  }
};

// Layers one after the other.
template <class... Layers>
struct Chain;

template <>
struct Chain<> {
  static constexpr int NUMBERS = 0;
  template <class S>
  static __device__ constexpr int variances() {
    return 0;
  }
  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(Pair<S, TANGENT>&, const Surroundings<S>&, Cursor) {}
};

template <class First, class... Rest>
struct Chain<First, Rest...> {
  static constexpr int NUMBERS = First::NUMBERS + Chain<Rest...>::NUMBERS;
  template <class S>
  static __device__ constexpr int variances() {
    return First::template variances<S>() + Chain<Rest...>::template variances<S>();
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor at) {
    First::template run<S, TANGENT>(pair, around, at);
    at.number += First::NUMBERS;
    at.variance += First::template variances<S>();
    Chain<Rest...>::template run<S, TANGENT>(pair, around, at);
  }
};

// The same layers several times, with other numbers and variances each time: code for one time.
template <int TIMES, class... Layers>
struct Repeat {
  using Body = Chain<Layers...>;
  static constexpr int NUMBERS = TIMES * Body::NUMBERS;
  template <class S>
  static __device__ constexpr int variances() {
    return TIMES * Body::template variances<S>();
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor at) {
#pragma unroll 1
    for (int time = 0; time < TIMES; ++time) {
      Body::template run<S, TANGENT>(pair, around, at);
      at.number += Body::NUMBERS;
      at.variance += Body::template variances<S>();
    }
  }
};

// Branches that are added up: the sum is weighted by one number, behind those of the branches.
template <class... Branches>
struct Fork;

template <>
struct Fork<> {
  static constexpr int NUMBERS = 1;
  template <class S>
  static __device__ constexpr int variances() {
    return 0;
  }
  template <class S, bool TANGENT>
  static __device__ __forceinline__ void add(
      const Pair<S, TANGENT>&, Pair<S, TANGENT>& total, const Surroundings<S>&, Cursor at) {
    using T = typename S::Scalar;
    const T weight = Constant<T>::numbers()[at.number];
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) {
        total.s.at[j][c] *= weight;
        if constexpr (TANGENT) total.t.at[j][c] *= weight;
      }
  }
};

template <class First, class... Rest>
struct Fork<First, Rest...> {
  static constexpr int NUMBERS = First::NUMBERS + Fork<Rest...>::NUMBERS;
  template <class S>
  static __device__ constexpr int variances() {
    return First::template variances<S>() + Fork<Rest...>::template variances<S>();
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void add(
      const Pair<S, TANGENT>& start, Pair<S, TANGENT>& total, const Surroundings<S>& around,
      Cursor at) {
    Pair<S, TANGENT> branch = start;
    First::template run<S, TANGENT>(branch, around, at);
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) {
        total.s.at[j][c] += branch.s.at[j][c];
        if constexpr (TANGENT) total.t.at[j][c] += branch.t.at[j][c];
      }
    at.number += First::NUMBERS;
    at.variance += First::template variances<S>();
    Fork<Rest...>::template add<S, TANGENT>(start, total, around, at);
  }

  template <class S, bool TANGENT>
  static __device__ __forceinline__ void run(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, Cursor at) {
    using T = typename S::Scalar;
    const Pair<S, TANGENT> start = pair;
    pair.s.fill(T(0));
    if constexpr (TANGENT) pair.t.fill(T(0));
    add<S, TANGENT>(start, pair, around, at);
  }
};

} // namespace gramserve
