// emit16: what a product's epilogue leaves of a stream x for the next product, where a quad holds 64 columns of a row.
//   operand = bf16(x * scale), sums[row, column / 64] = sum of x^2 over the 64 columns.
#pragma once
#include "math.cuh"
#include "../params.h"

// x: the thread's 16 values of stream row `row` from `column` on (a multiple of 16); all lanes call it.
PID_DEVICE void emit16(const PidEmit& emit, std::uint32_t row, bool valid, std::uint32_t column, std::uint32_t hidden,
                       int q, const float (&x)[16]) {
    // The same for all threads of a launch.
    if (!emit.enabled) return;
    float sum = 0.0f;
    PID_UNROLL
    for (int i = 0; i < 16; ++i) sum += x[i] * x[i];
    sum = quad_sum(sum);
    if (!valid) return;
    float scale[16], operand[16];
    load_floats(scale, emit.scale + column);
    PID_UNROLL
    for (int i = 0; i < 16; ++i) operand[i] = x[i] * scale[i];
    store_bf16(emit.operand + static_cast<std::size_t>(row) * hidden + column, operand);
    if (q == 0) emit.sums[static_cast<std::size_t>(row) * (hidden / 64) + column / 64] = sum;
}
