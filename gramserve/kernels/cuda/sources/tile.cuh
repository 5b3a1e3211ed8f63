// A cyclic tile in the registers of a group of lanes.
//
// The entries of a covariance with offset (a, b) modulo the image size (H, W),
//
//     tile(a, b)[j, k] = S[(j, k), ((j + a) % H, (k + b) % W)],
//
// form a full H x W array for every one of the H W offsets. A group of LANES lanes holds one:
// lane l has the columns l * COLUMNS, ..., of all ROWS rows. A warp holds 32 / LANES groups.
//
// A tile consists of up to four planes of one true offset each, which a convolution never mixes.
// The seam between them lies in front of row H - a and of column W - b.
#pragma once

namespace gramserve {

inline constexpr unsigned EVERY_LANE = 0xffffffffu;

// Keeps the compiler from computing in advance, and keeping in registers, what depends on a value.
__device__ __forceinline__ int afresh(int value) {
#if defined(__CUDA_ARCH__)
  asm volatile("" : "+r"(value));
#endif
  return value;
}

template <class T, int ROWS_, int LANES_, int COLUMNS_>
struct Shape {
  using Scalar = T;
  static constexpr int ROWS = ROWS_;
  static constexpr int LANES = LANES_;
  static constexpr int COLUMNS = COLUMNS_;
  static constexpr int WIDTH = LANES_ * COLUMNS_;
  static constexpr int POSITIONS = ROWS_ * WIDTH;
  static constexpr int GROUPS = 32 / LANES_;
};

// Where the lanes of a warp are: which group, and which part of its rows.
template <class S>
struct Place {
  int group;         // 0 ... GROUPS - 1; lanes left over repeat the last group
  int lane;          // 0 ... LANES - 1 within the group
  int first;         // the lane of the warp with which the group begins
  int column;        // the first column of this lane
  bool is_left_over; // writes nothing

  __device__ __forceinline__ Place() {
    const int index = afresh(threadIdx.x) & 31;
    is_left_over = index >= S::GROUPS * S::LANES;
    group = is_left_over ? S::GROUPS - 1 : index / S::LANES;
    lane = is_left_over ? index - S::GROUPS * S::LANES : index - group * S::LANES;
    if (lane >= S::LANES) lane = 0;
    first = group * S::LANES;
    column = lane * S::COLUMNS;
  }
};

// The offset of the tile at hand: rows are those of the whole warp, columns those of each group.
struct Offset {
  int a;
  int b;
  int row_seam;    // first row behind the seam: H - a
  int column_seam; // first column behind the seam: W - b
  bool is_marked;  // this lane's pair is one item with itself, and the offset is (0, 0)
  bool any_marked; // of any lane of the warp
};

template <class S>
__device__ __forceinline__ Offset offset_of(int a, int b, bool is_same) {
  Offset at;
  at.a = a;
  at.b = b;
  at.row_seam = S::ROWS - a;
  at.column_seam = S::WIDTH - b;
  at.is_marked = is_same && a == 0 && b == 0;
  at.any_marked = a == 0 && __any_sync(EVERY_LANE, at.is_marked);
  return at;
}

// Numbers that lie side by side and are loaded at once, 16 bytes at a time.
template <class T, int N>
struct alignas(N * sizeof(T) > 16 ? 16 : N * sizeof(T)) Pack {
  T at[N];
};

template <int BYTES>
struct Word {
  using Type = float4;
};
template <>
struct Word<8> {
  using Type = float2;
};
template <>
struct Word<4> {
  using Type = float;
};

template <class P>
__device__ __forceinline__ P load_whole(const P* from) {
  using W = typename Word<(sizeof(P) > 16 ? 16 : sizeof(P))>::Type;
  union Both {
    W words[sizeof(P) / sizeof(W)];
    P pack;
    __device__ __forceinline__ Both() {}
  } both;
#pragma unroll
  for (int w = 0; w < (int)(sizeof(P) / sizeof(W)); ++w)
    both.words[w] = reinterpret_cast<const W*>(from)[w];
  return both.pack;
}

// The rows of S, or of T.
template <class S>
struct Tile {
  typename S::Scalar at[S::ROWS][S::COLUMNS];

  __device__ __forceinline__ void fill(typename S::Scalar value) {
#pragma unroll
    for (int j = 0; j < S::ROWS; ++j)
#pragma unroll
      for (int c = 0; c < S::COLUMNS; ++c) at[j][c] = value;
  }
};

// S and, where the tangent kernel is asked for, T.
template <class S, bool TANGENT>
struct Pair {
  Tile<S> s;
  Tile<S> t;
};

template <class S>
struct Pair<S, false> {
  Tile<S> s;
};

__device__ constexpr int floor_divide(int number, int by) {
  return number >= 0 ? number / by : -((by - 1 - number) / by);
}

// The taps of a convolution along one axis that keeps the size: tap t reads D t - LOW further.
template <int TAPS_, int LOW_, int D_>
struct Axis {
  static constexpr int TAPS = TAPS_;
  static constexpr int LOW = LOW_;
  static constexpr int D = D_;
  static constexpr int BEFORE = LOW_ > 0 ? LOW_ : 0; // how far back it reads
  static constexpr bool HAS_OWN = LOW_ % D_ == 0 && LOW_ / D_ >= 0 && LOW_ / D_ < TAPS_;
};

// Sums over the taps across, of one row; columns beyond an edge or the seam count as zero.
template <class S, class Across>
struct AcrossSum {
  using T = typename S::Scalar;
  static constexpr int C = S::COLUMNS;
  static constexpr int FARTHEST = (Across::TAPS - 1) * Across::D - Across::LOW;
  static constexpr int LEFT = -floor_divide(-Across::LOW, C);         // lanes to the left
  static constexpr int RIGHT = floor_divide(C - 1 + FARTHEST, C);     // lanes to the right
  static constexpr bool HAS_OWN = Across::HAS_OWN;

  T mask[Across::TAPS][C];
  int left[LEFT > 0 ? LEFT : 1];
  int right[RIGHT > 0 ? RIGHT : 1];

  __device__ __forceinline__ AcrossSum(const Place<S>& place, const Offset& offset) {
#pragma unroll
    for (int t = 0; t < Across::TAPS; ++t)
#pragma unroll
      for (int c = 0; c < C; ++c) {
        const int from = place.column + c, to = from + t * Across::D - Across::LOW;
        const bool is_inside = to >= 0 && to < S::WIDTH;
        const bool is_joined = (from < offset.column_seam) == (to < offset.column_seam);
        mask[t][c] = is_inside && is_joined ? T(1) : T(0);
      }
    // Lanes of other groups hold other pairs, whose infinities are none of ours: stay inside.
#pragma unroll
    for (int l = 0; l < LEFT; ++l)
      left[l] = place.first + (place.lane > l ? place.lane - l - 1 : 0);
#pragma unroll
    for (int l = 0; l < RIGHT; ++l)
      right[l] = place.first + (place.lane + l + 1 < S::LANES ? place.lane + l + 1 : place.lane);
  }

  __device__ __forceinline__ void operator()(T (&row)[C]) const {
    T own[C];
#pragma unroll
    for (int c = 0; c < C; ++c) own[c] = row[c];
    // Own entries first: they need no mask.
    if (!HAS_OWN) {
#pragma unroll
      for (int c = 0; c < C; ++c) row[c] = T(0);
    }
#pragma unroll
    for (int t = 0; t < Across::TAPS; ++t)
#pragma unroll
      for (int c = 0; c < C; ++c) {
        const int by = t * Across::D - Across::LOW;
        if (by == 0) continue;
        const int to = c + by, lanes = floor_divide(to, C), column = to - lanes * C;
        T value = own[column];
        if (lanes < 0) value = __shfl_sync(EVERY_LANE, own[column], left[lanes < 0 ? -lanes - 1 : 0]);
        if (lanes > 0) value = __shfl_sync(EVERY_LANE, own[column], right[lanes > 0 ? lanes - 1 : 0]);
        row[c] = fma(mask[t][c], value, row[c]);
      }
  }
};

// A box filter on a tile, in place: the sum over all taps that stay on the plane.
template <class S, class Down, class Across>
__device__ __forceinline__ void box_filter(
    Tile<S>& tile, const Offset& offset, const AcrossSum<S, Across>& across) {
  using T = typename S::Scalar;
  constexpr int C = S::COLUMNS;
  const int seam = afresh(offset.row_seam);
  // What the rows before the present one held, the last one first.
  T before[Down::BEFORE > 0 ? Down::BEFORE : 1][C];
#pragma unroll
  for (int j = 0; j < S::ROWS; ++j) {
    T row[C];
#pragma unroll
    for (int c = 0; c < C; ++c) row[c] = Down::HAS_OWN ? tile.at[j][c] : T(0);
#pragma unroll
    for (int t = 0; t < Down::TAPS; ++t) {
      const int by = t * Down::D - Down::LOW, from = j + by;
      if (by == 0 || from < 0 || from >= S::ROWS) continue;
      // A factor instead of a condition: one select serves all columns of this lane.
      const bool is_joined = (j < seam) == (from < seam);
#pragma unroll
      for (int c = 0; c < C; ++c) {
        const T value = by < 0 ? before[by < 0 ? -by - 1 : 0][c] : tile.at[by < 0 ? 0 : from][c];
        row[c] = fma(is_joined ? T(1) : T(0), value, row[c]);
      }
    }
#pragma unroll
    for (int back = Down::BEFORE - 1; back > 0; --back)
#pragma unroll
      for (int c = 0; c < C; ++c) before[back][c] = before[back - 1][c];
#pragma unroll
    for (int c = 0; c < C; ++c) before[0][c] = tile.at[j][c];
    across(row);
#pragma unroll
    for (int c = 0; c < C; ++c) tile.at[j][c] = row[c];
  }
}

} // namespace gramserve
