// image_u8: output = round((x + 1) * 127.5) clamped to 0..255, halves away from zero, NaN to 0; planes to pixels.
//   image [B, 3, H, W] f32, 16-byte aligned; output [B, H, W, 3] u8, 4-byte aligned; H W below 2^32 - 1024
//   sm_80+; 4 pixels per thread: grid (ceil(H W / 1024), 1, B), block 256, smem 0
//   memory bound: 12 bytes read and 3 written per pixel. H W a multiple of 4: vector access; else by element
//   source: src/output/mod.rs
#include "../intrinsics/intrinsics.cuh"
#include "../params.h"

namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kPixels = 4;

// What each fault lacks.
enum : int { kNoTailGuard = 1, kNoPartGuard = 2 };

PID_DEVICE std::uint32_t to_byte(float x) {
    // fmaxf of NaN and 0 is 0.
    return static_cast<std::uint32_t>(roundf(fminf(fmaxf((x + 1.0f) * 127.5f, 0.0f), 255.0f)));
}

PID_DEVICE std::uint32_t pack(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return a | b << 8 | c << 16 | d << 24;
}

template <int kFault>
PID_DEVICE void convert(const PidImageParams& params) {
    // 64-bit: 3 B H W can pass 2^31.
    const std::size_t plane = static_cast<std::size_t>(params.height) * params.width;
    const std::size_t first = (static_cast<std::size_t>(blockIdx.x) * kThreads + threadIdx.x) * kPixels;
    if (kFault != kNoTailGuard && first >= plane) return;
    const float* image = params.image + blockIdx.z * 3 * plane + first;
    std::uint8_t* output = params.output + (blockIdx.z * plane + first) * 3;
    if (plane % kPixels == 0) {
        std::uint32_t v[3][kPixels];
        PID_UNROLL
        for (int c = 0; c < 3; ++c) {
            const float4 x = *reinterpret_cast<const float4*>(image + c * plane);
            v[c][0] = to_byte(x.x), v[c][1] = to_byte(x.y), v[c][2] = to_byte(x.z), v[c][3] = to_byte(x.w);
        }
        std::uint32_t* words = reinterpret_cast<std::uint32_t*>(output);
        words[0] = pack(v[0][0], v[1][0], v[2][0], v[0][1]);
        words[1] = pack(v[1][1], v[2][1], v[0][2], v[1][2]);
        words[2] = pack(v[2][2], v[0][3], v[1][3], v[2][3]);
        return;
    }
    for (std::uint32_t p = 0; p < kPixels; ++p) {
        // The last thread may have fewer than 4 pixels.
        if (kFault != kNoPartGuard && first + p >= plane) return;
        for (int c = 0; c < 3; ++c) output[p * 3 + c] = static_cast<std::uint8_t>(to_byte(image[c * plane + p]));
    }
}

}  // namespace

PID_KERNEL(image_u8, PidImageParams, plain_entry("image_u8", kPixels * kThreads, kThreads, 4)) { convert<0>(params); }

PID_FAULT(image_u8, no_tail_guard, convert<kNoTailGuard>)
PID_FAULT(image_u8, no_part_guard, convert<kNoPartGuard>)
