// conv3x3: the epilogue of the convolutions, output = f(product + bias) [+ output].
//   f = silu or identity; bias [n] f32, output [B Hs Ws, n] bf16, n a multiple of 16. source: op Conv3x3 (src/graph/op.rs)
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

    PID_DEVICE Fetched fetch(const RowBlock& of) const {
        const std::uint32_t first = of.column + 16 * static_cast<std::uint32_t>(of.q);
        Fetched fetched;
        if (params.accumulate && of.valid && first < params.gemm.n) {
            PID_UNROLL
            for (int i = 0; i < 2; ++i) fetched.before[i] = reinterpret_cast<const uint4*>(output(of.row, first))[i];
        }
        return fetched;
    }

    PID_DEVICE void row(const RowBlock& of, const Fetched& fetched, float (&v)[16]) const {
        const std::uint32_t n = params.gemm.n, first = of.column + 16 * static_cast<std::uint32_t>(of.q);
        if (!of.valid || first >= n) return;
        float bias[16];
        load_floats(bias, params.gemm.group[of.group].bias + first);
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
        store_bf16(output(of.row, first), v);
    }
};
