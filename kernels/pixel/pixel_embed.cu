// pixel_embed: pixels[b, n, p] = W rgb + bias + [sin(u w_k), cos(u w_k), sin(v w_k), cos(v w_k)], w_k = 10000^(-k/4),
//   k = 0..3; pixel p = 16 py + px of patch n lies at column u, row v of the picture
//   image [B, 3, H, W] f32; W [16, 3], bias [16] f32; pixels [B * L, 256, 16] bf16; 16-byte aligned; arithmetic in f32
//   sm_80+; one patch per block: grid B * L, block 256, smem sizeof(Smem); no tail
//   A patch has 16 columns and 16 rows, so its 256 sines and cosines are computed once, one a thread. Two threads share
//   a pixel (8 channels each), so that a warp's stores are one contiguous range.
//   memory bound: 12 bytes read and 32 written per pixel
//   source: op PixelEmbed of src/graph/op.rs
#include "../common/angle.cuh"
#include "../common/math.cuh"
#include "../params.h"

namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kPatch = 16;
constexpr std::uint32_t kPixels = kPatch * kPatch;
constexpr std::uint32_t kChannels = 16;
// Channels of a thread: those of one axis.
constexpr std::uint32_t kHalf = kChannels / 2;
constexpr std::uint32_t kFrequencies = 4;
static_assert(2 * kPatch * kHalf == kThreads, "one sine or cosine a thread");

struct Smem {
    // By axis (column, row), position in the patch: 4 sines, 4 cosines.
    alignas(16) float code[2][kPatch][kHalf];
};
static_assert(sizeof(Smem) == 1024, "what launchers ask for");

// What the fault lacks.
enum : int { kNoBarrier = 1 };

// Thread's one value of the table; `origin` is the patch's first pixel's column and row.
PID_DEVICE void fill_code(Smem& smem, const std::uint32_t (&origin)[2]) {
    const std::uint32_t position = threadIdx.x % kPatch, k = threadIdx.x / kPatch % kFrequencies;
    const bool is_cosine = threadIdx.x / 64 % 2 != 0;  // the same throughout a warp
    const std::uint32_t axis = threadIdx.x / 128;
    // 2^64 w_k / (2 pi): the product counts the angle in 2^-64 of a turn, whole turns lost to the overflow.
    constexpr std::uint64_t kTurn0 = 0x28be60db9391054au, kTurn1 = 0x041309af8ec1b3bbu, kTurn2 = 0x00684dc4c179c52cu,
                            kTurn3 = 0x000a6e2d468c2d51u;
    const std::uint64_t per_pixel = k == 0 ? kTurn0 : k == 1 ? kTurn1 : k == 2 ? kTurn2 : kTurn3;
    const SinCos code = sin_cos_of_turn(
        static_cast<std::uint32_t>(((axis == 0 ? origin[0] : origin[1]) + position) * per_pixel >> 32));
    smem.code[axis][position][(is_cosine ? kFrequencies : 0) + k] = is_cosine ? code.cos : code.sin;
}

template <int kFault>
PID_DEVICE void embed(const PidPixelEmbedParams& params) {
    PID_SHARED(Smem, smem);
    const std::uint32_t patch = blockIdx.x, per_sample = params.grid_rows * params.grid_cols;
    const std::uint32_t sample = patch / per_sample, token = patch % per_sample;
    const std::uint32_t origin[2] = {token % params.grid_cols * kPatch, token / params.grid_cols * kPatch};
    fill_code(smem, origin);

    const std::uint32_t half = threadIdx.x % 2;
    float weight[3 * kHalf], bias[kHalf];
    load_floats(weight, params.weight + half * 3 * kHalf);
    load_floats(bias, params.bias + half * kHalf);
    if (kFault != kNoBarrier) syncthreads();  // the whole table is there

    // 64-bit: 3 B H W and 16 B H W can pass 2^31.
    const std::size_t width = params.grid_cols * kPatch, plane = width * params.grid_rows * kPatch;
    const float* image = params.image + sample * 3 * plane + origin[1] * width + origin[0];
    std::uint16_t* pixels = params.pixels + static_cast<std::size_t>(patch) * kPixels * kChannels;
    PID_UNROLL
    for (std::uint32_t i = 0; i < 2 * kPixels / kThreads; ++i) {
        const std::uint32_t p = (i * kThreads + threadIdx.x) / 2, px = p % kPatch, py = p / kPatch;
        const float* rgb = image + py * width + px;
        const float red = rgb[0], green = rgb[plane], blue = rgb[2 * plane];
        float value[kHalf];
        load_floats(value, smem.code[half][half == 0 ? px : py]);
        PID_UNROLL
        for (std::uint32_t c = 0; c < kHalf; ++c)
            value[c] += weight[3 * c] * red + weight[3 * c + 1] * green + weight[3 * c + 2] * blue + bias[c];
        store_bf16(pixels + p * kChannels + half * kHalf, value);
    }
}

}  // namespace

PID_KERNEL(pixel_embed, PidPixelEmbedParams, plain_entry("pixel_embed", 1, kThreads, 4, sizeof(Smem))) { embed<0>(params); }

PID_FAULT(pixel_embed, no_barrier, embed<kNoBarrier>)
