// pixel_embed: pixels[b, n, p] = W rgb + bias + [sin(u w_k), cos(u w_k), sin(v w_k), cos(v w_k)], w_k = 10000^(-k/4),
//   k = 0..3; pixel p = 16 py + px of patch n lies at column u, row v of the picture
//   image [B, 3, H, W] f32; W [16, 3], bias [16] f32; pixels [B * L, 256, 16] bf16; 16-byte aligned; arithmetic in f32
//   sm_80+; one patch per block: grid B * L, block 256, smem sizeof(Smem); no tail
//   A patch has 16 columns and 16 rows, so its 256 sines and cosines are computed once, one a thread. Two threads share
//   a pixel (8 channels each), so that a warp's stores are one contiguous range.
//   memory bound: 12 bytes read and 32 written per pixel
//   source: op PixelEmbed of src/graph/op.rs
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
    // 10000^(k/4). A division rounds the angle once; a product with a rounded w_k is 5e-5 off at 4096.
    const float period = k == 0 ? 1.0f : k == 1 ? 10.0f : k == 2 ? 100.0f : 1000.0f;
    const float angle = static_cast<float>((axis == 0 ? origin[0] : origin[1]) + position) / period;
    smem.code[axis][position][(is_cosine ? kFrequencies : 0) + k] = is_cosine ? cosf(angle) : sinf(angle);
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

PID_KERNEL(pixel_embed, PidPixelEmbedParams, kThreads, 4) { embed<0>(params); }

PID_FAULT_KERNEL(pixel_embed_fault1, PidPixelEmbedParams, kThreads, embed<kNoBarrier>)
