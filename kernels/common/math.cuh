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
// GELU with erf, not tanh: x Phi(x), Phi(-|x|) = erfc(|x| / sqrt 2) / 2 = e^(-x^2 / 2) P(t), t = 1 / (1 + p |x| / sqrt 2).
// Abramowitz and Stegun 7.1.26, halved: |error of Phi| <= 0.75e-7, where erff would take twice as many instructions.
PID_DEVICE float gelu(float x) {
    const float size = x < 0.0f ? -x : x;
    const float t = rcp_approx(1.0f + 0.23164188820f * size);
    float p = 0.5307027145f * t - 0.7265760135f;
    p = p * t + 0.7107068705f;
    p = p * t - 0.142248368f;
    p = p * t + 0.127414796f;
    const float tail = p * t * ex2_approx(-0.5f * kLog2E * x * x);
    return x * (x < 0.0f ? tail : 1.0f - tail);
}

// Sum over the lanes 4i .. 4i + 3; all 32 take part, all four get the sum.
PID_DEVICE float quad_sum(float x) {
    x += shfl_xor_sync(kFullMask, x, 1);
    return x + shfl_xor_sync(kFullMask, x, 2);
}

// A quad's 64 columns in the order Groups16: thread q has 4q .. 4q + 3 of every 16, so that a quad's accesses are whole
// sectors of 32 bytes. `from` and `to` are the first column's.
PID_DEVICE void load_groups(float (&out)[16], const float* from, int q) {
    PID_UNROLL
    for (int g = 0; g < 4; ++g) {
        const float4 v = reinterpret_cast<const float4*>(from)[4 * g + q];
        out[4 * g] = v.x, out[4 * g + 1] = v.y, out[4 * g + 2] = v.z, out[4 * g + 3] = v.w;
    }
}
PID_DEVICE void store_groups(float* to, const float (&v)[16], int q) {
    PID_UNROLL
    for (int g = 0; g < 4; ++g)
        reinterpret_cast<float4*>(to)[4 * g + q] = make_float4(v[4 * g], v[4 * g + 1], v[4 * g + 2], v[4 * g + 3]);
}
// The same in bf16, unpacked later: two registers for four values.
PID_DEVICE void load_groups_bf16(uint2 (&out)[4], const std::uint16_t* from, int q) {
    PID_UNROLL
    for (int g = 0; g < 4; ++g) out[g] = reinterpret_cast<const uint2*>(from)[4 * g + q];
}
PID_DEVICE void store_groups_bf16(std::uint16_t* to, const float (&v)[16], int q) {
    PID_UNROLL
    for (int g = 0; g < 4; ++g)
        reinterpret_cast<uint2*>(to)[4 * g + q] =
            make_uint2(cvt_rn_bf16x2(v[4 * g], v[4 * g + 1]), cvt_rn_bf16x2(v[4 * g + 2], v[4 * g + 3]));
}
PID_DEVICE void unpack_bf16(float (&out)[4], const uint2& v) {
    out[0] = bf16_low(v.x), out[1] = bf16_high(v.x), out[2] = bf16_low(v.y), out[3] = bf16_high(v.y);
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
PID_DEVICE void unpack_bf16(float (&out)[8], const uint4& v) {
    out[0] = bf16_low(v.x), out[1] = bf16_high(v.x), out[2] = bf16_low(v.y), out[3] = bf16_high(v.y);
    out[4] = bf16_low(v.z), out[5] = bf16_high(v.z), out[6] = bf16_low(v.w), out[7] = bf16_high(v.w);
}
template <int kCount>
PID_DEVICE void load_bf16(float (&out)[kCount], const std::uint16_t* from) {
    PID_UNROLL
    for (int i = 0; i < kCount / 8; ++i) {
        float eight[8];
        unpack_bf16(eight, reinterpret_cast<const uint4*>(from)[i]);
        PID_UNROLL
        for (int j = 0; j < 8; ++j) out[8 * i + j] = eight[j];
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
// The first 2 kWords values as bf16 pairs, and such pairs (4 or 8) to memory.
template <int kWords, int kCount>
PID_DEVICE void pack_bf16(std::uint32_t (&packed)[kWords], const float (&v)[kCount]) {
    static_assert(kCount >= 2 * kWords, "two values a pair");
    PID_UNROLL
    for (int i = 0; i < kWords; ++i) packed[i] = cvt_rn_bf16x2(v[2 * i], v[2 * i + 1]);
}
template <int kWords>
PID_DEVICE void store_packed(std::uint16_t* to, const std::uint32_t (&packed)[kWords]) {
    PID_UNROLL
    for (int i = 0; i < kWords; i += 4)
        reinterpret_cast<uint4*>(to)[i / 4] = make_uint4(packed[i], packed[i + 1], packed[i + 2], packed[i + 3]);
}
