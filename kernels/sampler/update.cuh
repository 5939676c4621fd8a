// update: the sampler's step on a pixel, for the kernels that end in it.
//   x0 = image - t v;  sde: image = keep x0 + noise_scale noise;  ode: image += velocity_scale v
//   float32, where the public code takes float64: its error, 1e-7, is far below v's.
#pragma once
#include "../intrinsics/intrinsics.cuh"
#include "../params.h"

// What each fault of a kernel with this step lacks.
enum : int { kNoNoiseGuard = 101, kNoVelocityGuard = 102 };

// Channel c of pixel (row, col) of sample `sample_idx`, whose velocity is v. Any thread, one per value.
template <int kFault = 0>
PID_DEVICE void sample_channel(const PidSample& sample, int c, float v, std::uint32_t sample_idx, std::uint32_t row,
                               std::uint32_t col) {
    // 64-bit: 3 B H W can pass 2^31.
    const std::size_t width = static_cast<std::size_t>(sample.grid_cols) * 16;
    const std::size_t plane = width * sample.grid_rows * 16;
    const std::size_t at = (sample_idx * 3 + static_cast<std::size_t>(c)) * plane + row * width + col;
    // The pointers are null where the flags are off.
    const bool reads_noise = kFault == kNoNoiseGuard || sample.add_noise != 0;
    const bool stores_velocity = kFault == kNoVelocityGuard || sample.store_velocity != 0;
    const float image = sample.image[at];
    const float fresh = reads_noise ? sample.noise_scale * sample.noise[at] : 0.0f;
    const float sde = sample.keep * (image - sample.t * v) + fresh;
    const float ode = image + sample.velocity_scale * v;
    sample.image[at] = sample.is_ode != 0 ? ode : sde;
    if (stores_velocity) sample.velocity[at] = v;
}
