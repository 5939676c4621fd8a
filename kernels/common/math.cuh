// math: bf16 in and out, activations, sums over the four lanes that share an accumulator's row.
#pragma once
#include "../intrinsics/intrinsics.cuh"

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kRmsEpsilon = 1e-6f;

PID_DEVICE float bf16_to_float(std::uint16_t bits) { return bits_to_float(static_cast<std::uint32_t>(bits) << 16); }
// The halves of a packed pair.
PID_DEVICE float bf16_low(std::uint32_t pair) { return bits_to_float(pair << 16); }
PID_DEVICE float bf16_high(std::uint32_t pair) { return bits_to_float(pair & 0xffff0000u); }
PID_DEVICE std::uint16_t float_to_bf16(float x) { return static_cast<std::uint16_t>(cvt_rn_bf16x2(x, 0.0f)); }

PID_DEVICE float minus_infinity() { return bits_to_float(0xff800000u); }
PID_DEVICE float sigmoid(float x) { return rcp_approx(1.0f + ex2_approx(-x * kLog2E)); }
PID_DEVICE float silu(float x) { return x * sigmoid(x); }
// Exact (erf) GELU.
PID_DEVICE float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

// Sum over the lanes 4i .. 4i + 3; all 32 take part, all four get the sum.
PID_DEVICE float quad_sum(float x) {
    x += shfl_xor_sync(kFullMask, x, 1);
    return x + shfl_xor_sync(kFullMask, x, 2);
}

// Their maximum, likewise.
PID_DEVICE float quad_max(float x) {
    x = fmaxf(x, shfl_xor_sync(kFullMask, x, 1));
    return fmaxf(x, shfl_xor_sync(kFullMask, x, 2));
}

// kCount (a multiple of 8) consecutive values, 16-byte aligned.
template <int kCount>
PID_DEVICE void load_floats(float (&out)[kCount], const float* from) {
    PID_UNROLL
    for (int i = 0; i < kCount / 4; ++i) {
        const float4 v = reinterpret_cast<const float4*>(from)[i];
        out[4 * i] = v.x, out[4 * i + 1] = v.y, out[4 * i + 2] = v.z, out[4 * i + 3] = v.w;
    }
}
template <int kCount>
PID_DEVICE void store_floats(float* to, const float (&v)[kCount]) {
    PID_UNROLL
    for (int i = 0; i < kCount / 4; ++i)
        reinterpret_cast<float4*>(to)[i] = make_float4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
}
template <int kCount>
PID_DEVICE void load_bf16(float (&out)[kCount], const std::uint16_t* from) {
    PID_UNROLL
    for (int i = 0; i < kCount / 8; ++i) {
        const uint4 v = reinterpret_cast<const uint4*>(from)[i];
        out[8 * i] = bf16_low(v.x), out[8 * i + 1] = bf16_high(v.x);
        out[8 * i + 2] = bf16_low(v.y), out[8 * i + 3] = bf16_high(v.y);
        out[8 * i + 4] = bf16_low(v.z), out[8 * i + 5] = bf16_high(v.z);
        out[8 * i + 6] = bf16_low(v.w), out[8 * i + 7] = bf16_high(v.w);
    }
}
template <int kCount>
PID_DEVICE void store_bf16(std::uint16_t* to, const float (&v)[kCount]) {
    PID_UNROLL
    for (int i = 0; i < kCount / 8; ++i)
        reinterpret_cast<uint4*>(to)[i] =
            make_uint4(cvt_rn_bf16x2(v[8 * i], v[8 * i + 1]), cvt_rn_bf16x2(v[8 * i + 2], v[8 * i + 3]),
                       cvt_rn_bf16x2(v[8 * i + 4], v[8 * i + 5]), cvt_rn_bf16x2(v[8 * i + 6], v[8 * i + 7]));
}
