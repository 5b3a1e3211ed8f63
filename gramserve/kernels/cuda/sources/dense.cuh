// What does not stay on a tile in registers: one thread an entry, states in global memory.
//
// Convolutions that change the size, wrap around or fill with zeros; pools whose windows overlap;
// branches that meet in a state; and every layer of images that are too large for registers.
#pragma once

#include "stage.cuh"

namespace gramserve {

inline constexpr int DENSE_THREADS = 256;

// One axis of a state: its size and which offsets are kept.
struct DenseAxis {
  int size;
  int kept;
  const int* offsets; // by slot
  const int* slots;   // by offset; -1 where an offset is not kept
};

// A state with the form that StateSource reads: (pairs, offsets b, offsets a, H, W).
template <class T>
struct Dense {
  T* s;
  T* t;
  T* more_s; // a second part of every entry, or null
  T* more_t;
  DenseAxis down;
  DenseAxis across;

  __device__ __forceinline__ long long tile(int pair, int a, int b) const {
    const long long column = (long long)pair * across.kept + across.slots[b];
    return (column * down.kept + down.slots[a]) * down.size * across.size;
  }
  __device__ __forceinline__ bool keeps(int a, int b) const {
    return down.slots[a] >= 0 && across.slots[b] >= 0;
  }
  __device__ __forceinline__ T take_s(long long at) const {
    return more_s == nullptr ? s[at] : s[at] + more_s[at];
  }
  __device__ __forceinline__ T take_t(long long at) const {
    return more_t == nullptr ? t[at] : t[at] + more_t[at];
  }
};

// The entry of a thread: pair, offsets and positions.
struct DenseEntry {
  long long at;
  int pair;
  int a;
  int b;
  int j;
  int k;
  bool exists;

  template <class T>
  __device__ __forceinline__ DenseEntry(const Dense<T>& state, int pairs) {
    const int height = state.down.size, width = state.across.size;
    const long long tiles = (long long)pairs * state.across.kept * state.down.kept;
    const long long index = (long long)blockIdx.x * DENSE_THREADS + threadIdx.x;
    exists = index < tiles * height * width;
    at = exists ? index : tiles * height * width - 1;
    long long rest = at / width;
    k = (int)(at - rest * width);
    j = (int)(rest % height);
    rest /= height;
    a = state.down.offsets[rest % state.down.kept];
    rest /= state.down.kept;
    b = state.across.offsets[rest % state.across.kept];
    pair = (int)(rest / state.across.kept);
  }
};

__device__ __forceinline__ int wrapped(int position, int size) {
  return position < size ? position : position - size;
}

// Products of vectors: x as (n, entries, H, W), y with the rows of each entry twice.
template <class T>
__device__ __forceinline__ void dense_items(
    const T* x, const T* y, int entries, const Pairs& pairs, const Dense<T>& state) {
  const DenseEntry entry(state, pairs.count);
  if (!entry.exists) return;
  const int width = state.across.size, positions = state.down.size * width;
  const T* mine = x + (long long)pairs.x[entry.pair] * entries * positions;
  const T* theirs = y + (long long)pairs.y[entry.pair] * entries * 2 * positions;
  mine += entry.j * width + entry.k;
  theirs += (entry.j + entry.a) * width + wrapped(entry.k + entry.b, width);
  T total = 0;
  for (int number = 0; number < entries; ++number) {
    total = fma(*mine, *theirs, total);
    mine += positions;
    theirs += 2 * positions;
  }
  state.s[entry.at] = total;
  if (state.t != nullptr) state.t[entry.at] = 0;
}

// A layer without neighbours, in place. `position_stride` is 0 where one variance serves all
// positions; `behind` is where the cursor stands, 1 behind the variances of an activation.
template <class T, bool TANGENT, class Layer>
__device__ __forceinline__ void dense_layer(
    const Sides<T>& sides, const Pairs& pairs, const Dense<T>& state, int number, int variance,
    int position_stride, int behind) {
  using S = Shape<T, 1, 1, 1>;
  const DenseEntry entry(state, pairs.count);
  const int width = state.across.size;
  const int i = pairs.x[entry.pair], j = pairs.y[entry.pair];
  Surroundings<S> around;
  sides.open(around, i, j);
  around.x += variance + position_stride * (entry.j * width + entry.k);
  around.y += 2 * variance +
              position_stride *
                  ((entry.j + entry.a) * width + wrapped(entry.k + entry.b, width));
  around.move_to(0, 0, pairs.same[entry.pair] != 0 && entry.a == 0 && entry.b == 0);
  around.offset.a = entry.a;
  around.offset.b = entry.b;
  Pair<S, TANGENT> pair;
  pair.s.at[0][0] = state.take_s(entry.at);
  if constexpr (TANGENT) pair.t.at[0][0] = state.take_t(entry.at);
  const Cursor at = {number, behind};
  Layer::template run<S, TANGENT>(pair, around, at);
  if (!entry.exists) return;
  state.s[entry.at] = pair.s.at[0][0];
  if constexpr (TANGENT) state.t[entry.at] = pair.t.at[0][0];
}

// How an axis of a convolution reads: output o, tap t: input (stride o + dilation t - low) / fill.
struct DenseTaps {
  int size;
  int stride;
  int dilation;
  int low;
  int fill;
  int wraps;

  // The input position, or -1.
  __device__ __forceinline__ int input(int output, int tap, int length) const {
    int position = stride * output + dilation * tap - low;
    if (wraps) {
      position %= length;
      return position < 0 ? position + length : position;
    }
    if (position < 0 || position % fill != 0) return -1;
    position /= fill;
    return position < length ? position : -1;
  }
};

template <class T, bool TANGENT>
__device__ __forceinline__ void dense_conv(
    const Dense<T>& from, const Dense<T>& to, int pairs, const DenseTaps& down,
    const DenseTaps& across, bool is_trained, int number) {
  const DenseEntry entry(to, pairs);
  if (!entry.exists) return;
  const int height = from.down.size, width = from.across.size;
  const int other_j = wrapped(entry.j + entry.a, to.down.size);
  const int other_k = wrapped(entry.k + entry.b, to.across.size);
  T total_s = 0, total_t = 0;
  for (int u = 0; u < down.size; ++u) {
    const int j = down.input(entry.j, u, height), y_j = down.input(other_j, u, height);
    if (j < 0 || y_j < 0) continue;
    const int a = y_j >= j ? y_j - j : y_j - j + height;
    for (int v = 0; v < across.size; ++v) {
      const int k = across.input(entry.k, v, width), y_k = across.input(other_k, v, width);
      if (k < 0 || y_k < 0) continue;
      const int b = y_k >= k ? y_k - k : y_k - k + width;
      const long long at = from.tile(entry.pair, a, b) + (long long)j * width + k;
      total_s += from.take_s(at);
      if constexpr (TANGENT) total_t += from.take_t(at);
    }
  }
  const T* numbers = Constant<T>::numbers() + number;
  total_s = fma(total_s, numbers[0], numbers[1]);
  to.s[entry.at] = total_s;
  if constexpr (TANGENT)
    to.t[entry.at] = fma(total_t, numbers[0], is_trained ? total_s : T(0));
}

// One axis of a pool: output o adds weights[o, t] times input stride o + t - low.
struct DenseWindow {
  int size;
  int stride;
  int low;
  int weights; // among the numbers: (outputs, taps)
};

// Pools one axis of both positions. Along the other axis, `to` has the size of `from`.
template <class T, class Out, bool TANGENT, bool DOWN>
__device__ __forceinline__ void dense_pool(
    const Dense<T>& from, const Dense<Out>& to, int pairs, const DenseWindow& window) {
  const DenseEntry entry(to, pairs);
  if (!entry.exists) return;
  const int length = DOWN ? from.down.size : from.across.size;
  const int output = DOWN ? entry.j : entry.k;
  const int pooled = DOWN ? to.down.size : to.across.size;
  const int other = wrapped(output + (DOWN ? entry.a : entry.b), pooled);
  const Out* mine = Constant<Out>::numbers() + window.weights + output * window.size;
  const Out* theirs = Constant<Out>::numbers() + window.weights + other * window.size;
  const int width = from.across.size;
  Out total_s = 0, total_t = 0;
  for (int r = 0; r < window.size; ++r) {
    const int p = window.stride * output + r - window.low;
    if (p < 0 || p >= length) continue;
    for (int t = 0; t < window.size; ++t) {
      const int q = window.stride * other + t - window.low;
      if (q < 0 || q >= length) continue;
      const int offset = q >= p ? q - p : q - p + length;
      const int a = DOWN ? offset : entry.a, b = DOWN ? entry.b : offset;
      const long long at = from.tile(entry.pair, a, b) +
                           (long long)(DOWN ? p : entry.j) * width + (DOWN ? entry.k : p);
      const Out weight = mine[r] * theirs[t];
      total_s = fma(weight, (Out)from.take_s(at), total_s);
      if constexpr (TANGENT) total_t = fma(weight, (Out)from.take_t(at), total_t);
    }
  }
  to.s[entry.at] = total_s;
  if constexpr (TANGENT) to.t[entry.at] = total_t;
}

// to = weight * from, or added to what is there; `to` may keep fewer offsets.
template <class T, class Out, bool TANGENT>
__device__ __forceinline__ void dense_copy(
    const Dense<T>& from, const Dense<Out>& to, int pairs, Out weight, bool adds) {
  const DenseEntry entry(to, pairs);
  if (!entry.exists) return;
  const long long at = from.tile(entry.pair, entry.a, entry.b) +
                       (long long)entry.j * from.across.size + entry.k;
  const Out s = weight * (Out)from.take_s(at);
  to.s[entry.at] = adds ? to.s[entry.at] + s : s;
  if constexpr (TANGENT) {
    const Out t = weight * (Out)from.take_t(at);
    to.t[entry.at] = adds ? to.t[entry.at] + t : t;
  }
}

// Adds up all entries of a pair: one block a pair, in an order that does not change.
template <class T, bool TANGENT>
__device__ __forceinline__ void dense_sum(
    const Dense<T>& state, double* sums_s, double* sums_t, double* shared) {
  const long long count = (long long)state.across.kept * state.down.kept * state.down.size *
                          state.across.size;
  const long long begin = blockIdx.x * count;
  double total_s = 0, total_t = 0;
  for (long long e = threadIdx.x; e < count; e += DENSE_THREADS) {
    total_s += (double)state.take_s(begin + e);
    if constexpr (TANGENT) total_t += (double)state.take_t(begin + e);
  }
  shared[threadIdx.x] = total_s;
  shared[DENSE_THREADS + threadIdx.x] = total_t;
  for (int half = DENSE_THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if ((int)threadIdx.x < half) {
      shared[threadIdx.x] += shared[threadIdx.x + half];
      shared[DENSE_THREADS + threadIdx.x] += shared[DENSE_THREADS + threadIdx.x + half];
    }
  }
  if (threadIdx.x != 0) return;
  sums_s[blockIdx.x] = shared[0];
  if constexpr (TANGENT) sums_t[blockIdx.x] = shared[DENSE_THREADS];
}

} // namespace gramserve
