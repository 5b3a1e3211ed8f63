// Stages: a chain of layers on every tile that is needed, from what it reads to what it writes.
//
// One group of lanes takes all offsets a for one pair of items and one offset b (or, in front of a
// pool, one run of offsets b that a pool joins), so that rows are seamed alike in the whole warp.
#pragma once

#include "chain.cuh"

// Dynamic shared memory of a block.
#ifndef GRAMSERVE_SHARED
#define GRAMSERVE_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace gramserve {

// Threads of a block of every stage.
inline constexpr int STAGE_THREADS = 128;
inline constexpr int STAGE_WARPS = STAGE_THREADS / 32;

// The pairs of a batch: rows of x and y, and whether both are one item.
struct Pairs {
  const int* x;
  const int* y;
  const int* same;
  int count;
};

// Products of the items' vectors: x is (n, entries, H, W), y (m, entries, 2 H, W) with the rows of
// each entry twice. Neighbouring columns lie side by side, so a warp loads whole lines.
template <class S>
struct ItemSource {
  using T = typename S::Scalar;
  const T* x;
  const T* y;
  int entries;

  template <bool TANGENT>
  __device__ __forceinline__ void load(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, int, int i, int j) const {
    const T* mine = x + (long long)i * entries * S::POSITIONS + around.place.column;
    const T* theirs = y + (long long)j * entries * 2 * S::POSITIONS;
    pair.s.fill(T(0));
#pragma unroll 1
    for (int entry = 0; entry < entries; ++entry) {
#pragma unroll
      for (int row = 0; row < S::ROWS; ++row) {
        using Columns = Pack<T, S::COLUMNS>;
        const Columns own = load_whole(reinterpret_cast<const Columns*>(mine + row * S::WIDTH));
#pragma unroll
        for (int c = 0; c < S::COLUMNS; ++c)
          pair.s.at[row][c] = fma(
              own.at[c], theirs[row * S::WIDTH + around.y_column[c]], pair.s.at[row][c]);
      }
      mine += S::POSITIONS;
      theirs += 2 * S::POSITIONS;
    }
    if constexpr (TANGENT) pair.t.fill(T(0));
  }
};

// A state: all tiles that later stages read, (pairs, offsets b, offsets a, H, W).
//
// row_slots and column_slots tell where an offset is among those that are kept. What a pool wrote
// has two parts that belong together, see PoolExit; `more` is null otherwise.
template <class T>
struct State {
  T* s;
  T* t;
  T* more_s;
  T* more_t;
  const int* row_slots;
  const int* column_slots;
  int rows_kept;
  int columns_kept;

  template <class S>
  __device__ __forceinline__ long long entry(int pair, int a, int b) const {
    // What is not kept is not needed either: any tile will do in its place.
    const int row = row_slots[a], column = column_slots[b];
    const long long tile = (long long)pair * columns_kept + (column < 0 ? 0 : column);
    return (tile * rows_kept + (row < 0 ? 0 : row)) * S::POSITIONS;
  }
};

template <class S, bool IS_SPLIT>
struct StateSource {
  using T = typename S::Scalar;
  State<T> state;

  template <bool TANGENT>
  __device__ __forceinline__ void load(
      Pair<S, TANGENT>& pair, const Surroundings<S>& around, int number, int, int) const {
    const long long at =
        state.template entry<S>(number, around.offset.a, around.offset.b) + around.place.column;
    fetch(pair.s, state.s + at, IS_SPLIT ? state.more_s + at : nullptr);
    if constexpr (TANGENT) fetch(pair.t, state.t + at, IS_SPLIT ? state.more_t + at : nullptr);
  }

  static __device__ __forceinline__ void fetch(Tile<S>& tile, const T* from, const T* more) {
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j) {
      using Columns = Pack<T, S::COLUMNS>;
      const int row = j * S::WIDTH;
      const Columns first = load_whole(reinterpret_cast<const Columns*>(from + row));
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) tile.at[j][c] = first.at[c];
      if constexpr (IS_SPLIT) {
        const Columns second = load_whole(reinterpret_cast<const Columns*>(more + row));
#pragma unroll
        for (int c = 0; c < S::COLUMNS; ++c) tile.at[j][c] += second.at[c];
      }
    }
  }
};

// One number of a pair, for the layers behind a readout: arrays (n, m).
template <class S>
struct NumberSource {
  using T = typename S::Scalar;
  const T* s;
  const T* t;
  int columns;

  template <bool TANGENT>
  __device__ __forceinline__ void load(
      Pair<S, TANGENT>& pair, const Surroundings<S>&, int, int i, int j) const {
    const long long at = (long long)i * columns + j;
    pair.s.at[0][0] = s[at];
    if constexpr (TANGENT) pair.t.at[0][0] = t[at];
  }
};

// The unit of work of a group of lanes: a pair, and one of the offsets (or runs of offsets) b.
//
// It is worked out again for every tile: that takes few instructions, and what it consists of does
// not occupy registers while the layers run.
template <class S>
struct Unit {
  int number; // of the pair in the batch
  int part;
  int i;
  int j;
  bool is_same;
  bool writes;

  __device__ __forceinline__ Unit(const Place<S>& place, const Pairs& pairs, int parts) {
    const int warp = blockIdx.x * STAGE_WARPS + afresh(threadIdx.x) / 32;
    const int unit = warp * S::GROUPS + place.group, units = pairs.count * parts;
    const int mine = unit < units ? unit : units - 1;
    writes = unit < units && !place.is_left_over;
    number = mine / parts;
    part = mine - number * parts;
    i = pairs.x[number];
    j = pairs.y[number];
    is_same = pairs.same[number] != 0;
  }
};

// Which offsets a stage takes: `a` of all groups in turn, `b` by the unit.
struct Offsets {
  const int* rows;
  const int* columns;
  int row_count;
  int column_count;
};

// What is known of all items: the variances of x, (n, V), and of y, (m, 2 V).
template <class T>
struct Sides {
  const Roots<T>* x;
  const Roots<T>* y;
  int variances;

  template <class S>
  __device__ __forceinline__ void open(Surroundings<S>& around, int i, int j) const {
    around.x = x + (long long)i * variances;
    around.y = y + (long long)j * 2 * variances;
  }
};

// Keeps every tile: state = weight * tile, or added to what is there.
template <class S, bool TANGENT, bool ADDS, class Layers, class Source>
__device__ __forceinline__ void keep_stage(
    const Source& source, const Sides<typename S::Scalar>& sides, const Pairs& pairs,
    const Offsets& offsets, const State<typename S::Scalar>& state, typename S::Scalar weight,
    Cursor at) {
#pragma unroll 1
  for (int index = 0; index < offsets.row_count; ++index) {
    Surroundings<S> around;
    const Unit<S> unit(around.place, pairs, offsets.column_count);
    const int b = offsets.columns[unit.part];
    sides.open(around, unit.i, unit.j);
    around.move_to(offsets.rows[index], b, unit.is_same);
    Pair<S, TANGENT> pair;
    source.template load<TANGENT>(pair, around, unit.number, unit.i, unit.j);
    Layers::template run<S, TANGENT>(pair, around, at);
    if (!unit.writes) continue;
    const long long to =
        state.template entry<S>(unit.number, around.offset.a, b) + around.place.column;
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) {
        const long long entry = to + j * S::WIDTH + c;
        if constexpr (ADDS) {
          state.s[entry] = fma(weight, pair.s.at[j][c], state.s[entry]);
          if constexpr (TANGENT) state.t[entry] = fma(weight, pair.t.at[j][c], state.t[entry]);
        } else {
          state.s[entry] = weight * pair.s.at[j][c];
          if constexpr (TANGENT) state.t[entry] = weight * pair.t.at[j][c];
        }
      }
  }
}

template <class S>
__device__ __forceinline__ double total_of(const Tile<S>& tile) {
  // A tile is added up in the precision of its entries, the tiles in double.
  typename S::Scalar total = 0;
#pragma unroll
  for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
    for (int c = 0; c < S::COLUMNS; ++c) total += tile.at[j][c];
  return (double)total;
}

// The sum of a number over the lanes of a group, in an order that does not change.
template <class S>
__device__ __forceinline__ double total_of_group(double mine, const Place<S>& place) {
  double total = 0;
#pragma unroll 1
  for (int lane = 0; lane < S::LANES; ++lane)
    total += __shfl_sync(EVERY_LANE, mine, place.first + lane);
  return total;
}

// Adds up every tile: sums (pairs, offsets b) in double, of S and T.
template <class S, bool TANGENT, class Layers, class Source>
__device__ __forceinline__ void sum_stage(
    const Source& source, const Sides<typename S::Scalar>& sides, const Pairs& pairs,
    const Offsets& offsets, double* sums_s, double* sums_t, Cursor at) {
  double total_s = 0, total_t = 0;
#pragma unroll 1
  for (int index = 0; index < offsets.row_count; ++index) {
    Surroundings<S> around;
    const Unit<S> unit(around.place, pairs, offsets.column_count);
    sides.open(around, unit.i, unit.j);
    around.move_to(offsets.rows[index], offsets.columns[unit.part], unit.is_same);
    Pair<S, TANGENT> pair;
    source.template load<TANGENT>(pair, around, unit.number, unit.i, unit.j);
    Layers::template run<S, TANGENT>(pair, around, at);
    total_s += total_of(pair.s);
    if constexpr (TANGENT) total_t += total_of(pair.t);
  }
  const Place<S> place;
  const Unit<S> unit(place, pairs, offsets.column_count);
  total_s = total_of_group(total_s, place);
  if constexpr (TANGENT) total_t = total_of_group(total_t, place);
  if (!unit.writes || place.lane != 0) return;
  const long long to = (long long)unit.number * offsets.column_count + unit.part;
  sums_s[to] = total_s;
  if constexpr (TANGENT) sums_t[to] = total_t;
}

// Layers on single numbers, one lane a pair: in place on arrays (n, m).
template <class T, bool TANGENT, class Layers>
__device__ __forceinline__ void number_stage(
    const Sides<T>& sides, int rows, int columns, const int* x_labels, const int* y_labels,
    T* s, T* t, Cursor at) {
  using S = Shape<T, 1, 1, 1>;
  const long long number = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  const long long count = (long long)rows * columns;
  const long long mine = number < count ? number : count - 1;
  const int i = (int)(mine / columns), j = (int)(mine - (long long)i * columns);
  Surroundings<S> around;
  sides.open(around, i, j);
  around.move_to(0, 0, x_labels[i] == y_labels[j]);
  const NumberSource<S> source = {s, t, columns};
  Pair<S, TANGENT> pair;
  source.template load<TANGENT>(pair, around, 0, i, j);
  Layers::template run<S, TANGENT>(pair, around, at);
  if (number >= count) return;
  s[number] = pair.s.at[0][0];
  if constexpr (TANGENT) t[number] = pair.t.at[0][0];
}

} // namespace gramserve
