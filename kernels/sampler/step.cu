// sample_step: v = weight (x / sqrt(mean(x^2, 16) + 1e-6) norm) + bias per pixel, then the sampler's step (update.cuh).
//   pixels [B * L, 256, 16] bf16, 16-byte aligned; norm [16], weight [3, 16], bias [3] f32; image, noise, velocity
//   [B, 3, H, W] f32; arithmetic in f32
//   sm_80+; one patch per block, one pixel per thread: grid B * L, block 256, smem 0; no tail
//   memory bound: per pixel 32 bytes of pixels, 24 of image, 12 of noise (sde), 12 of velocity (when stored)
//   source: op SampleStep of src/graph/op.rs
#include "../common/math.cuh"
#include "update.cuh"

namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kPatch = 16;
constexpr int kChannels = 16;
static_assert(kThreads == kPatch * kPatch, "one thread per pixel of the patch");

// The final layer.
PID_DEVICE void velocity(float (&v)[3], const PidSample& sample, const std::uint16_t* pixel) {
    float x[kChannels], norm[kChannels];
    load_bf16(x, pixel);
    load_floats(norm, sample.norm);
    float squares = 0.0f;
    PID_UNROLL
    for (int i = 0; i < kChannels; ++i) squares += x[i] * x[i];
    const float inverse = rsqrt_approx(squares * (1.0f / kChannels) + kRmsEpsilon);
    PID_UNROLL
    for (int i = 0; i < kChannels; ++i) x[i] *= inverse * norm[i];
    PID_UNROLL
    for (int c = 0; c < 3; ++c) {
        float weight[kChannels];
        load_floats(weight, sample.weight + c * kChannels);
        v[c] = sample.bias[c];
        PID_UNROLL
        for (int i = 0; i < kChannels; ++i) v[c] += weight[i] * x[i];
    }
}

template <int kFault>
PID_DEVICE void step(const PidSampleStepParams& params) {
    const PidSample& sample = params.sample;
    const std::uint32_t patch = blockIdx.x, per_sample = sample.grid_rows * sample.grid_cols;
    const std::uint32_t sample_idx = patch / per_sample, token = patch % per_sample;
    const std::uint32_t row = token / sample.grid_cols * kPatch + threadIdx.x / kPatch;
    const std::uint32_t col = token % sample.grid_cols * kPatch + threadIdx.x % kPatch;
    // 64-bit: 16 B H W can pass 2^31.
    float v[3];
    velocity(v, sample, params.pixels + (static_cast<std::size_t>(patch) * kThreads + threadIdx.x) * kChannels);
    PID_UNROLL
    for (int c = 0; c < 3; ++c) {
        const std::size_t at = sampled_place(sample, c, sample_idx, row, col);
        sample_value<kFault>(sample, at, sampled_value<kFault>(sample, at), v[c]);
    }
}

}  // namespace

PID_KERNEL(sample_step, PidSampleStepParams, plain_entry("sample_step", 1, kThreads, 4)) { step<0>(params); }

PID_FAULT(sample_step, no_noise_guard, step<kNoNoiseGuard>)
PID_FAULT(sample_step, no_velocity_guard, step<kNoVelocityGuard>)
