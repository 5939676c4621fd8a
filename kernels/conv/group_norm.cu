// group_norm: output = silu((input - mean) / sqrt(var + 1e-5) weight + bias), mean and var per sample and group
//   input, output [B, tokens, channels] bf16, 16-byte aligned, may be the same; weight, bias [channels] f32
//   sums [B, groups, slabs, 2] f32: sum and sum of squares of a slab of ceil(tokens / slabs) tokens
//   channels / groups a multiple of 8, groups at most kMaxGroups, tokens * channels / 8 below 2^31
//   Sums of a slab in f32 (bf16 squares are exact there), in an order fixed by the sizes. Mean and variance of all
//   slabs in f64: mean(x^2) - mean^2 cancels, which in f32 would enlarge its rounding by mean^2 / var.
//   sm_80+; block 256
//   group_norm_sums: grid (slabs, groups, B), smem sizeof(SumsSmem); 2 bytes per element
//   group_norm_apply: grid (ceil(tokens * channels / 8 / 256), 1, B) or fewer (a block then takes several shares),
//     smem sizeof(ApplySmem); 4 bytes per element, and groups * slabs * 8 per block from the cache
//   source: op GroupNormSilu of src/graph/op.rs
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../params.h"

namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kNumWarps = kThreads / 32;
constexpr std::uint32_t kMaxGroups = 32;
constexpr float kGroupEpsilon = 1e-5f;

struct SumsSmem {
    float sum[kNumWarps];
    float squares[kNumWarps];
};
static_assert(sizeof(SumsSmem) == 64, "what launchers ask for");

struct ApplySmem {
    float mean[kMaxGroups];
    float inverse[kMaxGroups];
};
static_assert(sizeof(ApplySmem) == 256, "what launchers ask for");

// What each fault lacks.
enum : int { kNoTailGuard = 1, kNoBarrier = 2, kNoSlabGuard = 3 };

template <int kFault>
PID_DEVICE void sums(const PidGroupNormParams& params) {
    PID_SHARED(SumsSmem, smem);
    const std::uint32_t slab = blockIdx.x, group = blockIdx.y, sample = blockIdx.z;
    const std::uint32_t width = params.channels / params.groups, vectors = width / 8;
    const std::uint32_t per_slab = (params.tokens + params.slabs - 1) / params.slabs;
    const std::uint32_t begin = slab * per_slab;
    // Slabs need not divide the tokens; the last ones may be empty.
    const bool is_whole = kFault == kNoTailGuard || begin + per_slab <= params.tokens;
    const std::uint32_t end = is_whole ? begin + per_slab : params.tokens;

    // 64-bit: B * tokens * channels can pass 2^31.
    const std::uint16_t* input =
        params.input + static_cast<std::size_t>(sample) * params.tokens * params.channels + group * width;
    float sum = 0.0f, squares = 0.0f;
    std::uint32_t token = begin + threadIdx.x / vectors, vector = threadIdx.x % vectors;
    while (token < end) {
        float x[8];
        load_bf16(x, input + static_cast<std::size_t>(token) * params.channels + vector * 8);
        PID_UNROLL
        for (int i = 0; i < 8; ++i) {
            sum += x[i];
            squares += x[i] * x[i];
        }
        token += kThreads / vectors;
        vector += kThreads % vectors;
        if (vector >= vectors) {
            vector -= vectors;
            ++token;
        }
    }

    const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    sum = lanes_sum<32>(sum);
    squares = lanes_sum<32>(squares);
    if (lane == 0) {
        smem.sum[warp] = sum;
        smem.squares[warp] = squares;
    }
    if (kFault != kNoBarrier) syncthreads();  // every warp's sums are there before the first warp reads them
    if (warp != 0) return;
    sum = lanes_sum<32>(lane < kNumWarps ? smem.sum[lane] : 0.0f);
    squares = lanes_sum<32>(lane < kNumWarps ? smem.squares[lane] : 0.0f);
    if (lane != 0) return;
    const std::size_t at = (static_cast<std::size_t>(sample) * params.groups + group) * params.slabs + slab;
    reinterpret_cast<float2*>(params.sums)[at] = make_float2(sum, squares);
}

// Mean and 1 / sqrt(var + eps) of the sample's groups, a warp per group.
template <int kFault>
PID_DEVICE void finish_statistics(const PidGroupNormParams& params, std::uint32_t sample, ApplySmem& smem) {
    const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const std::uint32_t num_slabs = kFault == kNoSlabGuard ? (params.slabs + 31) / 32 * 32 : params.slabs;
    const double count = static_cast<double>(params.tokens) * (params.channels / params.groups);
    for (std::uint32_t group = warp; group < params.groups; group += kNumWarps) {
        const float2* of_group = reinterpret_cast<const float2*>(params.sums) +
                                 (static_cast<std::size_t>(sample) * params.groups + group) * params.slabs;
        double sum = 0.0, squares = 0.0;
        for (std::uint32_t slab = lane; slab < num_slabs; slab += 32) {
            const float2 part = of_group[slab];
            sum += part.x;
            squares += part.y;
        }
        const double mean = lanes_sum<32>(sum) / count;
        const double variance = lanes_sum<32>(squares) / count - mean * mean;
        if (lane == 0) {
            smem.mean[group] = static_cast<float>(mean);
            // A constant group's variance may round to below 0.
            smem.inverse[group] = 1.0f / sqrtf(fmaxf(static_cast<float>(variance), 0.0f) + kGroupEpsilon);
        }
    }
}

template <int kFault>
PID_DEVICE void apply(const PidGroupNormParams& params) {
    PID_SHARED(ApplySmem, smem);
    const std::uint32_t sample = blockIdx.z;
    finish_statistics<kFault>(params, sample, smem);
    if (kFault != kNoBarrier) syncthreads();  // all groups' statistics are there

    const std::uint32_t per_token = params.channels / 8, width = params.channels / params.groups;
    std::uint32_t num_vectors = params.tokens * per_token;
    if (kFault == kNoTailGuard) num_vectors = (num_vectors + kThreads - 1) / kThreads * kThreads;
    // 64-bit: B * tokens * channels can pass 2^31.
    const std::size_t first = static_cast<std::size_t>(sample) * params.tokens * params.channels;
    for (std::uint32_t v = blockIdx.x * kThreads + threadIdx.x; v < num_vectors; v += gridDim.x * kThreads) {
        const std::uint32_t channel = v % per_token * 8, group = channel / width;
        const std::size_t at = first + static_cast<std::size_t>(v) * 8;
        const float mean = smem.mean[group], inverse = smem.inverse[group];
        float x[8], weight[8], bias[8];
        load_bf16(x, params.input + at);
        load_floats(weight, params.weight + channel);
        load_floats(bias, params.bias + channel);
        PID_UNROLL
        for (int i = 0; i < 8; ++i) x[i] = silu((x[i] - mean) * inverse * weight[i] + bias[i]);
        store_bf16(params.output + at, x);
    }
}

}  // namespace

PID_KERNEL(group_norm_sums, PidGroupNormParams, plain_entry("group_norm_sums", 1, kThreads, 4, sizeof(SumsSmem))) { sums<0>(params); }
PID_KERNEL(group_norm_apply, PidGroupNormParams, plain_entry("group_norm_apply", kThreads, kThreads, 4, sizeof(ApplySmem))) { apply<0>(params); }

PID_FAULT(group_norm_sums, no_tail_guard, sums<kNoTailGuard>)
PID_FAULT(group_norm_sums, no_barrier, sums<kNoBarrier>)
PID_FAULT(group_norm_apply, no_tail_guard, apply<kNoTailGuard>)
PID_FAULT(group_norm_apply, no_barrier, apply<kNoBarrier>)
PID_FAULT(group_norm_apply, no_slab_guard, apply<kNoSlabGuard>)
