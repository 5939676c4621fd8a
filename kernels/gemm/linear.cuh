// linear: the epilogue of gemm_linear, output = A W^T + bias.
#pragma once
#include "epilogue.cuh"

struct LinearEpilogue : PlainEpilogue {
    const PidLinearParams& params;

    PID_DEVICE explicit LinearEpilogue(const PidLinearParams& p) : params(p) {}

    PID_DEVICE void row(int group, const Row& row, bool valid, float, std::uint32_t column, int q, Fetched,
                        float (&v)[16]) const {
        if (!valid) return;
        const std::uint32_t n = params.gemm.n, first = column + 16 * static_cast<std::uint32_t>(q);
        const float* bias = params.gemm.group[group].bias;
        std::uint16_t* to = params.output + static_cast<std::size_t>(row.stream) * n;
        if (n % 8 == 0 && first + 16 <= n) {
            float b[16];
            load_floats(b, bias + first);
            PID_UNROLL
            for (int i = 0; i < 16; ++i) v[i] += b[i];
            store_bf16(to + first, v);
            return;
        }
        PID_UNROLL
        for (std::uint32_t i = 0; i < 16; ++i)
            if (first + i < n) to[first + i] = float_to_bf16(v[i] + bias[first + i]);
    }
};
