// linear: the epilogue of gemm_linear, output = A W^T + bias.
//   bias [n] f32; output [rows, n] bf16 by stream row, any n. source: op Linear (src/graph/op.rs)
#pragma once
#include "epilogue.cuh"

// kWholeChunks: n is known to be a multiple of 8.
template <bool kWholeChunks, class Columns = ColumnsInMemory>
struct LinearEpilogue : PlainEpilogue {
    using Op = PidLinearParams;
    static constexpr int kPackedWords = 8;
    enum Array { kBias, kArrays };
    const Op& params;
    Columns columns;

    PID_DEVICE explicit LinearEpilogue(const Op& p, Columns of = {}) : params(p), columns(of) {}

    PID_DEVICE static const float* array(const Op& op, int group, int) { return op.gemm.group[group].bias; }

    PID_DEVICE void row(const RowBlock& of, const Fetched& fetched, float (&v)[16]) const {
        if (!of.valid) return;
        const std::uint32_t n = params.gemm.n, first = of.column + 16 * static_cast<std::uint32_t>(of.q);
        std::uint16_t* to = params.output + static_cast<std::size_t>(of.row.stream) * n;
        if (kWholeChunks || n % 8 == 0) {
            std::uint32_t packed[kPackedWords];
            pack(of, fetched, v, packed);
            PID_UNROLL
            for (std::uint32_t i = 0; i < 2; ++i)
                if (first + 8 * i < n)
                    *reinterpret_cast<uint4*>(to + first + 8 * i) =
                        make_uint4(packed[4 * i], packed[4 * i + 1], packed[4 * i + 2], packed[4 * i + 3]);
            return;
        }
        const float* bias = params.gemm.group[of.group].bias;
        PID_UNROLL
        for (std::uint32_t i = 0; i < 16; ++i)
            if (first + i < n) to[first + i] = float_to_bf16(v[i] + bias[first + i]);
    }

    PID_DEVICE void pack(const RowBlock& of, const Fetched&, float (&v)[16], std::uint32_t (&packed)[kPackedWords]) const {
        const std::uint32_t first = of.column + 16 * static_cast<std::uint32_t>(of.q);
        PID_UNROLL
        for (std::uint32_t i = 0; i < 2; ++i) {
            if (first + 8 * i >= params.gemm.n) continue;
            float b[8];
            load_floats(b, columns.at(kBias, params.gemm.group[of.group].bias, of.column) + 16 * of.q + 8 * i);
            PID_UNROLL
            for (int j = 0; j < 8; ++j) v[8 * i + j] += b[j];
        }
        pack_bf16(packed, v);
    }

    PID_DEVICE BoxPlace box(std::uint32_t segment, std::uint32_t column) const { return {0, column, segment}; }
};
