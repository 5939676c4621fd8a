// update: one picture element's step of the sampler, from its velocity.
//   x0 = image - t v; sde: image = keep x0 + noise_scale noise; ode: image += velocity_scale v. float32: its error, 1e-7,
//   is far below that of v.
#pragma once
#include "../intrinsics/intrinsics.cuh"
#include "../params.h"

constexpr std::uint32_t kSamplePatch = 16;

// Pixel `pixel` (py * 16 + px) of patch `token`, channel `channel` of the picture.
PID_DEVICE void sample_update(const PidSample& sample, std::uint32_t batch, std::uint32_t token, std::uint32_t pixel,
                              int channel, float v) {
    const std::uint32_t y = token / sample.grid_cols * kSamplePatch + pixel / kSamplePatch;
    const std::uint32_t x = token % sample.grid_cols * kSamplePatch + pixel % kSamplePatch;
    const std::size_t line =
        (static_cast<std::size_t>(batch) * 3 + static_cast<std::size_t>(channel)) * sample.grid_rows * kSamplePatch + y;
    const std::size_t at = line * sample.grid_cols * kSamplePatch + x;
    const float image = sample.image[at];
    if (sample.store_velocity) sample.velocity[at] = v;
    if (sample.is_ode) {
        sample.image[at] = image + sample.velocity_scale * v;
        return;
    }
    const float denoised = image - sample.t * v;
    sample.image[at] = sample.keep * denoised + (sample.add_noise ? sample.noise_scale * sample.noise[at] : 0.0f);
}
