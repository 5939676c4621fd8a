// exp2: 2^x on the FMA pipes, for a share of the weights. At d = 64 ex2.approx alone takes as many clocks as the matrix
// products (16 of them and 4096 FLOP a clock and SM), and the two would have to overlap without a gap.
//   x = n + r with n whole, |r| <= 1/2: 2^x = 2^n p(r), p a polynomial of degree 3 with p(0) = 1
//   relative error of p at most 1.02e-4 (minimax, by Lawson's iteration): a twentieth of a bf16's rounding, 2^-9
#pragma once
#include "../common/math.cuh"

// Adding it leaves the nearest whole number in the low bits of the sum, for |x| < 2^21.
constexpr float kRoundToWhole = 12582912.0f;  // 1.5 * 2^23

// 2^x for -127 <= x < 128; below 2^-126 the error is up to 2^-126, and -127 gives exactly 0. With kClamp everything below
// -127, minus infinity too, gives 0.
template <bool kClamp>
PID_DEVICE float exp2_polynomial(float x) {
    if (kClamp) x = fmaxf(x, -127.0f);
    const float rounded = x + kRoundToWhole;
    const float r = x - (rounded - kRoundToWhole);
    const float p = ((0.0550089329f * r + 0.2422109842f) * r + 0.6932829022f) * r + 1.0f;
    // Only n is left of the sum's bits after the shift. 1 <= p at n = -127, so that no exponent is below 0.
    return bits_to_float(float_to_bits(p) + (float_to_bits(rounded) << 23));
}

// Whether weight number `i` is computed so: kShare of each 16, spread evenly.
template <int kShare>
constexpr PID_DEVICE bool is_polynomial(int i) {
    return (i + 1) * kShare / 16 != i * kShare / 16;
}
