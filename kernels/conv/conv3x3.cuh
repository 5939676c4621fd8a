// conv3x3: the epilogue of the convolutions, output = f(product + bias) [+ output].
#pragma once
#include "../gemm/epilogue.cuh"

struct ConvEpilogue : PlainEpilogue {
    struct Fetched {
        uint4 before[2];  // bf16, 8 each
    };
    const PidConvParams& params;

    PID_DEVICE explicit ConvEpilogue(const PidConvParams& p) : params(p) {}

    PID_DEVICE std::uint16_t* output(const Row& row, std::uint32_t first) const {
        return params.output + static_cast<std::size_t>(row.stream) * params.gemm.n + first;
    }

    PID_DEVICE Fetched fetch(int, const Row& row, bool valid, std::uint32_t column, int q) const {
        const std::uint32_t first = column + 16 * static_cast<std::uint32_t>(q);
        Fetched fetched;
        if (params.accumulate && valid && first < params.gemm.n) {
            PID_UNROLL
            for (int i = 0; i < 2; ++i) fetched.before[i] = reinterpret_cast<const uint4*>(output(row, first))[i];
        }
        return fetched;
    }

    PID_DEVICE void row(int group, const Row& row, bool valid, float, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        const std::uint32_t n = params.gemm.n, first = column + 16 * static_cast<std::uint32_t>(q);
        if (!valid || first >= n) return;
        float bias[16];
        load_floats(bias, params.gemm.group[group].bias + first);
        PID_UNROLL
        for (int i = 0; i < 16; ++i) v[i] = params.silu ? silu(v[i] + bias[i]) : v[i] + bias[i];
        if (params.accumulate) {
            PID_UNROLL
            for (int i = 0; i < 2; ++i) {
                float before[8];
                unpack_bf16(before, fetched.before[i]);
                PID_UNROLL
                for (int j = 0; j < 8; ++j) v[8 * i + j] += before[j];
            }
        }
        store_bf16(output(row, first), v);
    }
};
