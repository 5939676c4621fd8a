// update: the sampler's step on a pixel, for the kernels that end in it.
//   x0 = image - t v;  sde: image = keep x0 + noise_scale noise;  ode: image += velocity_scale v
//   float32, where the public code takes float64: its error, 1e-7, is far below v's.
//   source: op SampleStep (src/graph/op.rs)
#pragma once
#include "../intrinsics/intrinsics.cuh"
#include "../params.h"

// What each fault of a kernel with this step lacks.
enum : int { kNoNoiseGuard = 101, kNoVelocityGuard = 102 };

// A value of the picture before the step, and the noise for it.
struct SampledValue {
    float image, noise;
};

// Where channel c of pixel (row, col) of sample `sample_idx` is.
PID_DEVICE std::size_t sampled_place(const PidSample& sample, int c, std::uint32_t sample_idx, std::uint32_t row,
                                     std::uint32_t col) {
    // 64-bit: 3 B H W can pass 2^31.
    const std::size_t width = static_cast<std::size_t>(sample.grid_cols) * 16;
    const std::size_t plane = width * sample.grid_rows * 16;
    return (sample_idx * 3 + static_cast<std::size_t>(c)) * plane + row * width + col;
}

// Any thread, one per value.
template <int kFault = 0>
PID_DEVICE SampledValue sampled_value(const PidSample& sample, std::size_t at) {
    // The pointer is null where the flag is off.
    const bool reads_noise = kFault == kNoNoiseGuard || sample.add_noise != 0;
    return {sample.image[at], reads_noise ? sample.noise[at] : 0.0f};
}

// The step of that value, whose velocity is v.
template <int kFault = 0>
PID_DEVICE void sample_value(const PidSample& sample, std::size_t at, const SampledValue& value, float v) {
    // The pointer is null where the flag is off.
    const bool stores_velocity = kFault == kNoVelocityGuard || sample.store_velocity != 0;
    const float sde = sample.keep * (value.image - sample.t * v) + sample.noise_scale * value.noise;
    const float ode = value.image + sample.velocity_scale * v;
    sample.image[at] = sample.is_ode != 0 ? ode : sde;
    if (stores_velocity) sample.velocity[at] = v;
}
