// Stages that end with a pool whose windows lie side by side.
//
// With windows of w positions, entry (j, k) of tile (a, b) is part of entry (j / w, k / w) of the
// pooled tile of offsets ((j + a) % H) / w - j / w and likewise across, modulo the pooled size.
// Rows with j % w < w - a % w belong to offset A = a / w, the others to A + 1. A group of lanes
// therefore takes the offsets a in runs of w, adds up two pooled rows of tiles at once, A and
// A + 1, and writes A when its run is over; what it has of A + 1 is the beginning of the next run.
// Across, it has one run of offsets b, and writes two parts: what belongs to B, into the state,
// and what belongs to B + 1, into a second array of the same form. Their sum is the pooled state.
#pragma once

#include "stage.cuh"

namespace gramserve {

// A run of offsets a = A w + r.
struct Run {
  int offset;   // A
  int is_fresh; // nothing of A was added up by the run before
  int slot;     // where A is kept, -1 if it is not needed
  int last;     // where A + 1 is kept if no run follows that adds to it, else -1
};

// A run of offsets b = B w + r.
struct ColumnRun {
  int offset; // B
  int slot;   // where B is kept, or -1
  int next;   // where B + 1 is kept, or -1
};

struct Runs {
  const Run* rows;
  const ColumnRun* columns;
  int row_count;
  int column_count;
};

// Sums of windows in shared memory. Every lane has places of its own, or, with one column a lane,
// every lane with which a window begins: nothing is exchanged through them.
template <class S, int W, bool TANGENT>
struct Windows {
  using T = typename S::Scalar;
  static_assert(S::ROWS % W == 0 && S::WIDTH % W == 0, "windows must lie side by side");
  static_assert(S::COLUMNS == 1 || S::COLUMNS % W == 0, "a lane has whole windows, or one column");
  static constexpr bool IS_SPREAD = S::COLUMNS == 1; // a window lies in W neighbouring lanes
  static constexpr int DOWN = S::ROWS / W;
  static constexpr int ACROSS = IS_SPREAD ? 1 : S::COLUMNS / W; // of one lane
  static constexpr int SIZE = DOWN * ACROSS;
  static constexpr int HOLDERS = IS_SPREAD ? (32 + W - 1) / W : 32; // lanes that have places
  static constexpr int LAYERS = TANGENT ? 2 : 1;
  static constexpr int WARP_ENTRIES = 2 * 2 * LAYERS * SIZE * HOLDERS;
  static constexpr int BYTES = STAGE_WARPS * WARP_ENTRIES * (int)sizeof(T);

  T* shared;
  int now; // which of both row offsets is A

  __device__ __forceinline__ explicit Windows(T* room) : shared(room), now(0) {}

  // Entries of row offset A (0) or A + 1 (1), column offset B (0) or B + 1 (1).
  __device__ __forceinline__ T* part(int row, int column, int layer) const {
    const int thread = afresh(threadIdx.x);
    const int entries = (((now ^ row) * 2 + column) * LAYERS + layer) * SIZE;
    return shared + (thread / 32) * WARP_ENTRIES + entries * HOLDERS +
           (thread & 31) / (IS_SPREAD ? W : 1);
  }

  // Lanes are not in step: only the one that adds to places and reads them may clear them.
  static __device__ __forceinline__ bool has_places() {
    return !IS_SPREAD || (threadIdx.x & 31) % W == 0;
  }

  __device__ __forceinline__ void clear(int row) const {
    if (!has_places()) return;
#pragma unroll 1
    for (int column = 0; column < 2; ++column)
#pragma unroll 1
      for (int layer = 0; layer < LAYERS; ++layer) {
        T* entries = part(row, column, layer);
#pragma unroll 1
        for (int e = 0; e < SIZE; ++e) entries[e * HOLDERS] = T(0);
      }
  }

  // Adds a tile of offset (A w + r, B w + q).
  __device__ __forceinline__ void add(
      const Tile<S>& tile, const Place<S>& place, int r, int q, int layer) const {
    choose<0>(tile, place, r * W + q, layer);
  }

  // One piece of code for each r and q: every entry is added once, nothing is masked.
  template <int CASE>
  __device__ __forceinline__ void choose(
      const Tile<S>& tile, const Place<S>& place, int which, int layer) const {
    if (which == CASE) {
      add_case<CASE / W, CASE % W>(tile, place, layer);
    } else if constexpr (CASE + 1 < W * W) {
      choose<CASE + 1>(tile, place, which, layer);
    }
  }

  template <int R, int Q>
  __device__ __forceinline__ void add_case(
      const Tile<S>& tile, const Place<S>& place, int layer) const {
#pragma unroll
    for (int row = 0; row < (R > 0 ? 2 : 1); ++row) {
      T* here = part(row, 0, layer);
      T* next = part(row, 1, layer);
      const int begin = row == 0 ? 0 : W - R, end = row == 0 ? W - R : W;
#pragma unroll
      for (int j = 0; j < DOWN; ++j) {
        T down[S::COLUMNS];
#pragma unroll
        for (int c = 0; c < S::COLUMNS; ++c) {
          down[c] = tile.at[j * W + begin][c];
#pragma unroll
          for (int e = begin + 1; e < end; ++e) down[c] += tile.at[j * W + e][c];
        }
        if constexpr (IS_SPREAD) {
          T first = down[0], second = T(0);
#pragma unroll
          for (int e = 1; e < W; ++e) {
            const int from = place.lane + e < S::LANES ? place.lane + e : place.lane;
            const T value = __shfl_sync(EVERY_LANE, down[0], place.first + from);
            if (e < W - Q) first += value;
            else second += value;
          }
          if (has_places()) {
            here[j * HOLDERS] += first;
            if constexpr (Q > 0) next[j * HOLDERS] += second;
          }
        } else {
#pragma unroll
          for (int k = 0; k < ACROSS; ++k) {
            T first = down[k * W];
#pragma unroll
            for (int e = 1; e < W - Q; ++e) first += down[k * W + e];
            here[(j * ACROSS + k) * HOLDERS] += first;
            if constexpr (Q > 0) {
              T second = down[k * W + W - Q];
#pragma unroll
              for (int e = W - Q + 1; e < W; ++e) second += down[k * W + e];
              next[(j * ACROSS + k) * HOLDERS] += second;
            }
          }
        }
      }
    }
  }
};

// Writes, or adds, one row of windows to a pooled tile, (H / W, WIDTH / W) at `to`.
template <class S, int W, bool TANGENT, class Out>
__device__ __forceinline__ void write_windows(
    const typename S::Scalar* entries, const Place<S>& place, Out* to, Out weight, bool adds,
    bool writes) {
  using Sums = Windows<S, W, TANGENT>;
  using T = typename S::Scalar;
#pragma unroll 1
  for (int j = 0; j < Sums::DOWN; ++j) {
#pragma unroll
    for (int k = 0; k < Sums::ACROSS; ++k) {
      if (!writes || !Sums::has_places()) continue;
      const T value = entries[(j * Sums::ACROSS + k) * Sums::HOLDERS];
      const int column = Sums::IS_SPREAD ? place.lane / W : place.lane * Sums::ACROSS + k;
      Out* entry = to + j * (S::WIDTH / W) + column;
      const Out found = weight * (Out)value;
      *entry = adds ? *entry + found : found;
    }
  }
}

template <class S, int W, bool TANGENT, class Layers, class Source, class Out>
__device__ __forceinline__ void pool_stage(
    const Source& source, const Sides<typename S::Scalar>& sides, const Pairs& pairs,
    const Runs& runs, const State<Out>& state, Out weight, Cursor at,
    typename S::Scalar* shared) {
  Windows<S, W, TANGENT> windows(shared);
  constexpr int POOLED = S::POSITIONS / (W * W);
#pragma unroll 1
  for (int index = 0; index < runs.row_count; ++index) {
    const Run down = runs.rows[index];
    if (down.is_fresh) windows.clear(0);
    windows.clear(1);
#pragma unroll 1
    for (int r = 0; r < W; ++r)
#pragma unroll 1
      for (int q = 0; q < W; ++q) {
        Surroundings<S> around;
        const Unit<S> unit(around.place, pairs, runs.column_count);
        sides.open(around, unit.i, unit.j);
        around.move_to(
            down.offset * W + r, runs.columns[unit.part].offset * W + q, unit.is_same);
        Pair<S, TANGENT> pair;
        source.template load<TANGENT>(pair, around, unit.number, unit.i, unit.j);
        Layers::template run<S, TANGENT>(pair, around, at);
        windows.add(pair.s, around.place, r, q, 0);
        if constexpr (TANGENT) windows.add(pair.t, around.place, r, q, 1);
      }
    const Place<S> place;
    const Unit<S> unit(place, pairs, runs.column_count);
    const ColumnRun across = runs.columns[unit.part];
#pragma unroll 1
    for (int row = 0; row < 2; ++row) {
      const int slot = row == 0 ? down.slot : down.last;
      if (slot < 0) continue;
#pragma unroll 1
      for (int column = 0; column < 2; ++column) {
        const int to = column == 0 ? across.slot : across.next;
        const bool writes = unit.writes && to >= 0;
        const long long entry =
            (((long long)unit.number * state.columns_kept + (to < 0 ? 0 : to)) * state.rows_kept +
             slot) * POOLED;
        // The first of all runs began A + 1 of the last one.
        const bool adds = row == 1;
        write_windows<S, W, TANGENT, Out>(
            windows.part(row, column, 0), place,
            (column == 0 ? state.s : state.more_s) + entry, weight, adds, writes);
        if constexpr (TANGENT)
          write_windows<S, W, TANGENT, Out>(
              windows.part(row, column, 1), place,
              (column == 0 ? state.t : state.more_t) + entry, weight, adds, writes);
      }
    }
    windows.now ^= 1;
  }
}

} // namespace gramserve
