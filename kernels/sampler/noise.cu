// philox_normal: standard normal values, element i of draw k from (seed, k, i) alone.
//   Philox 4x32-10: counter (low i / 4, high i / 4, draw, 0), key (low seed, high seed), words r0..r3;
//   u = ((r >> 8) + 1) 2^-24 in (0, 1]; of pairs (u0, u1), (u2, u3): sqrt(-2 ln u) (cos, sin)(2 pi u')
//   output [count] f32, 16-byte aligned; seed one u64 in device memory; arithmetic in f32
//   sm_80+; 4 elements per thread: grid ceil(count / 1024), block 256, smem 0; memory bound: 4 bytes per element
//   source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; layout of src/sampler/philox.rs,
//   whose values these match but for the last bits of log, sin and cos
#include "../common/angle.cuh"
#include "../params.h"

namespace {

constexpr std::uint32_t kThreads = 256;
constexpr std::uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

// What each fault lacks.
enum : int { kNoTailGuard = 1, kNoPartGuard = 2 };

PID_DEVICE void philox4x32_10(std::uint32_t (&counter)[4], std::uint32_t key0, std::uint32_t key1) {
    PID_UNROLL
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = static_cast<std::uint64_t>(kMultiplier0) * counter[0];
        const std::uint64_t b = static_cast<std::uint64_t>(kMultiplier1) * counter[2];
        counter[0] = static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key0;
        counter[1] = static_cast<std::uint32_t>(b);
        counter[2] = static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key1;
        counter[3] = static_cast<std::uint32_t>(a);
        key0 += kWeyl0;
        key1 += kWeyl1;
    }
}

// u in 2^-24.
PID_DEVICE std::uint32_t uniform(std::uint32_t word) { return (word >> 8) + 1; }

// Box-Muller.
PID_DEVICE float2 normal_pair(std::uint32_t first, std::uint32_t second) {
    const float radius = sqrtf(-2.0f * logf(static_cast<float>(uniform(first)) * (1.0f / 16777216.0f)));
    const SinCos angle = sin_cos_of_turn(uniform(second) << 8);
    return make_float2(radius * angle.cos, radius * angle.sin);
}

template <int kFault>
PID_DEVICE void normal(const PidNoiseParams& params) {
    // 64-bit: element indices can pass 2^31.
    const std::uint64_t block = static_cast<std::uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const std::uint64_t first = block * 4;
    if (kFault != kNoTailGuard && first >= params.count) return;
    const std::uint64_t seed = *params.seed;
    const std::uint32_t low = static_cast<std::uint32_t>(block), high = static_cast<std::uint32_t>(block >> 32);
    std::uint32_t words[4] = {low, high, params.draw, 0};
    philox4x32_10(words, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
    const float2 a = normal_pair(words[0], words[1]), b = normal_pair(words[2], words[3]);
    float* output = params.output + first;
    // The last thread may have fewer than 4 elements.
    if (kFault == kNoPartGuard || first + 4 <= params.count) {
        *reinterpret_cast<float4*>(output) = make_float4(a.x, a.y, b.x, b.y);
        return;
    }
    output[0] = a.x;
    if (first + 1 < params.count) output[1] = a.y;
    if (first + 2 < params.count) output[2] = b.x;
}

}  // namespace

PID_KERNEL(philox_normal, PidNoiseParams, plain_entry("philox_normal", 4 * kThreads, kThreads, 4)) { normal<0>(params); }

PID_FAULT(philox_normal, no_tail_guard, normal<kNoTailGuard>)
PID_FAULT(philox_normal, no_part_guard, normal<kNoPartGuard>)
