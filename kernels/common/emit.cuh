// emit: what the next product reads of a stream x, as PidEmit has it: operand = bf16(x * scale), and sums of x^2 over
// slices of 64 columns.
#pragma once
#include "../params.h"
#include "math.cuh"
#include "reduce.cuh"

constexpr std::uint32_t kSliceColumns = 64;

// Columns `column .. column + 8` of row `row`, x in one lane. All 32 lanes call it; lanes 8i .. 8i + 7 have one row's
// consecutive columns, the first of them a multiple of 64. A lane that is not `inside` (beyond the row) stores nothing.
PID_DEVICE void emit_columns(const PidEmit& emit, std::uint32_t row, std::uint32_t hidden, std::uint32_t column,
                             bool inside, const float (&x)[8]) {
    // The same for all threads of a launch.
    if (!emit.enabled) return;
    float squares = 0.0f;
    PID_UNROLL
    for (int i = 0; i < 8; ++i) squares += x[i] * x[i];
    squares = lanes_sum<8>(squares);
    if (!inside) return;
    float scaled[8];
    load_floats(scaled, emit.scale + column);
    PID_UNROLL
    for (int i = 0; i < 8; ++i) scaled[i] *= x[i];
    // 64-bit: rows * hidden can pass 2^31.
    store_bf16(emit.operand + static_cast<std::size_t>(row) * hidden + column, scaled);
    if (column % kSliceColumns == 0)
        emit.sums[static_cast<std::size_t>(row) * (hidden / kSliceColumns) + column / kSliceColumns] = squares;
}

// The same from a product's accumulators: a quad holds 64 columns of a row, from `column` on, in the order Groups16.
// x: the thread's 16 values of stream row `row`; column_scale: emit.scale at `column`, or a copy; all lanes call it.
PID_DEVICE void emit_groups(const PidEmit& emit, const float* column_scale, std::uint32_t row, bool valid,
                            std::uint32_t column, std::uint32_t hidden, int q, const float (&x)[16]) {
    // The same for all threads of a launch.
    if (!emit.enabled) return;
    float sum = 0.0f;
    PID_UNROLL
    for (int i = 0; i < 16; ++i) sum += x[i] * x[i];
    sum = quad_sum(sum);
    if (!valid) return;
    float scale[16], operand[16];
    load_groups(scale, column_scale, q);
    PID_UNROLL
    for (int i = 0; i < 16; ++i) operand[i] = x[i] * scale[i];
    store_groups_bf16(emit.operand + static_cast<std::size_t>(row) * hidden + column, operand, q);
    if (q == 0) emit.sums[static_cast<std::size_t>(row) * (hidden / 64) + column / 64] = sum;
}
