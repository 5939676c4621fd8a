// update: the sampler's step on one pixel, for the kernels that end in it.
//   x0 = image - t v;  sde: image = keep x0 + noise_scale noise;  ode: image += velocity_scale v
#pragma once
#include "../intrinsics/intrinsics.cuh"
#include "../params.h"

// What each fault of a kernel with this step lacks.
enum : int { kNoNoiseGuard = 101, kNoVelocityGuard = 102 };

// `v` is the velocity of pixel (row, col) of sample `sample_idx`, red first. Any thread, one per pixel.
template <int kFault = 0>
PID_DEVICE void sample_update(const PidSample& sample, const float (&v)[3], std::uint32_t sample_idx,
                              std::uint32_t row, std::uint32_t col) {
    // 64-bit: 3 B H W can pass 2^31.
    const std::size_t width = static_cast<std::size_t>(sample.grid_cols) * 16;
    const std::size_t plane = width * sample.grid_rows * 16;
    const std::size_t at = sample_idx * 3 * plane + row * width + col;
    // The pointers are null where the flags are off.
    const bool reads_noise = kFault == kNoNoiseGuard || sample.add_noise != 0;
    const bool stores_velocity = kFault == kNoVelocityGuard || sample.store_velocity != 0;
    // All loads before the first store, which they might alias.
    float image[3], noise[3];
    PID_UNROLL
    for (int c = 0; c < 3; ++c) {
        image[c] = sample.image[at + c * plane];
        noise[c] = reads_noise ? sample.noise[at + c * plane] : 0.0f;
    }
    PID_UNROLL
    for (int c = 0; c < 3; ++c) {
        const float denoised = image[c] - sample.t * v[c];
        const float sde = sample.keep * denoised + (reads_noise ? sample.noise_scale * noise[c] : 0.0f);
        const float ode = image[c] + sample.velocity_scale * v[c];
        sample.image[at + c * plane] = sample.is_ode != 0 ? ode : sde;
        if (stores_velocity) sample.velocity[at + c * plane] = v[c];
    }
}
