// quad: the 16 channels of a pixel in the four threads of a quad; thread q holds channels 4q .. 4q + 3.
#pragma once
#include "../common/math.cuh"

constexpr int kPixelChannels = 16;

PID_DEVICE void load_quad(float (&out)[4], const float* channels, int q) { load_floats(out, channels + 4 * q); }

PID_DEVICE void load_quad_bf16(float (&out)[4], const std::uint16_t* channels, int q) {
    const uint2 v = reinterpret_cast<const uint2*>(channels)[q];
    out[0] = bf16_low(v.x), out[1] = bf16_high(v.x), out[2] = bf16_low(v.y), out[3] = bf16_high(v.y);
}

PID_DEVICE void store_quad_bf16(std::uint16_t* channels, int q, const float (&v)[4]) {
    reinterpret_cast<uint2*>(channels)[q] = make_uint2(cvt_rn_bf16x2(v[0], v[1]), cvt_rn_bf16x2(v[2], v[3]));
}

// 1 / rms over the pixel's channels; all lanes call it.
PID_DEVICE float quad_inverse_rms(const float (&x)[4]) {
    const float sum = x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3];
    return rsqrt_approx(quad_sum(sum) * (1.0f / kPixelChannels) + kRmsEpsilon);
}
