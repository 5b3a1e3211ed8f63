// What a card does at most of one kind of instruction, and how fast its memory copies. Every thread
// runs independent chains, so that none waits for another; sums are stored so that all are needed.

extern "C" __global__ __launch_bounds__(256) void fma_f32(float *out, int rounds, float a, float b) {
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = float(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 128; ++i) v[i % 8] = fmaf(v[i % 8], a, b);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += v[i];
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

extern "C" __global__ __launch_bounds__(256) void fma_f64(double *out, int rounds, double a,
                                                         double b) {
  double v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = double(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 128; ++i) v[i % 8] = fma(v[i % 8], a, b);
  }
  double sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += v[i];
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

// Half multiply-adds of floats, half sums and bits of integers: cards whose float unit takes two
// turns for a warp issue one instruction each turn here.
extern "C" __global__ __launch_bounds__(256) void issue(float *out, int rounds, float a, float b,
                                                       int c, int d) {
  float v[4];
  int w[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[i] = float(threadIdx.x + i);
    w[i] = int(threadIdx.x) + i;
  }
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      v[i % 4] = fmaf(v[i % 4], a, b);
      w[i % 4] = w[i % 4] + c;
      v[(i + 2) % 4] = fmaf(v[(i + 2) % 4], a, b);
      w[i % 4] = w[i % 4] ^ d;
    }
  }
  out[blockIdx.x * 256 + threadIdx.x] =
      v[0] + v[1] + v[2] + v[3] + float(w[0] ^ w[1] ^ w[2] ^ w[3]);
}

extern "C" __global__ __launch_bounds__(256) void shuffle(float *out, int rounds) {
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = float(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 128; ++i) v[i % 8] = __shfl_xor_sync(0xffffffffu, v[i % 8], 1 + i % 8);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += v[i];
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

static __device__ __forceinline__ float quick_root(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return sqrtf(x);
#endif
}

extern "C" __global__ __launch_bounds__(256) void root(float *out, int rounds) {
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = float(threadIdx.x + i + 1);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 128; ++i) v[i % 8] = quick_root(v[i % 8]);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += v[i];
  out[blockIdx.x * 256 + threadIdx.x] = sum;
}

// `quads` numbers of 16 bytes from one array to another, `rounds` times.
extern "C" __global__ __launch_bounds__(256) void copy(float *to, const float *from, int rounds,
                                                      int quads) {
  const int stride = int(gridDim.x) * 256;
  for (int round = 0; round < rounds; ++round)
    for (int i = int(blockIdx.x) * 256 + int(threadIdx.x); i < quads; i += stride)
      reinterpret_cast<float4 *>(to)[i] = reinterpret_cast<const float4 *>(from)[i];
}
