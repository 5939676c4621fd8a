// swiglu: the epilogue of gemm_swiglu, output = silu(w1 z) * (w3 z); w1 and w3 are even and odd columns.
//   z is folded: (w z)[n] = r * product[n] + shift_product[n]; output [joint rows, n / 2] bf16. source: op SwiGlu (src/graph/op.rs)
#pragma once
#include "epilogue.cuh"

template <class Columns = ColumnsInMemory>
struct SwiGluEpilogue : PlainEpilogue {
    using Op = PidSwiGluParams;
    using RowOperands = FoldedSums;
    static constexpr int kPackedWords = 4;
    enum Array { kShift, kArrays };
    const Op& params;
    Columns columns;

    PID_DEVICE explicit SwiGluEpilogue(const Op& p, Columns of = {}) : params(p), columns(of) {}

    PID_DEVICE static const float* array(const Op& op, int group, int) { return op.fold[group].shift_product; }

    PID_DEVICE RowOperands row_operands(int group, const Row& row, int q) const {
        return folded_sums(params.fold[group].sums, row.stream, params.gemm.k, static_cast<std::uint32_t>(q));
    }

    PID_DEVICE float row_factor(int group, const Row& row, int q, const RowOperands& sums) const {
        return folded_inverse_rms(params.fold[group].sums, row.stream, params.gemm.k, q, sums);
    }

    PID_DEVICE void row(const RowBlock& of, const Fetched& fetched, float (&v)[16]) const {
        if (!of.valid) return;
        const std::uint32_t first = of.column + 16 * static_cast<std::uint32_t>(of.q);
        std::uint32_t packed[kPackedWords];
        pack(of, fetched, v, packed);
        const std::size_t line = joint_row(params.gemm.group[of.group].rows, of.row);
        store_packed(params.output + line * (params.gemm.n / 2) + first / 2, packed);
    }

    PID_DEVICE void pack(const RowBlock& of, const Fetched&, float (&v)[16], std::uint32_t (&packed)[kPackedWords]) const {
        const float r = of.factor;
        float shift[16] = {}, out[8];
        // Beyond the last column there is nothing to read, and nobody reads what becomes of it.
        if (of.valid) load_floats(shift, columns.at(kShift, params.fold[of.group].shift_product, of.column) + 16 * of.q);
        PID_UNROLL
        for (int i = 0; i < 8; ++i)
            out[i] = silu(v[2 * i] * r + shift[2 * i]) * (v[2 * i + 1] * r + shift[2 * i + 1]);
        pack_bf16(packed, out);
    }

    PID_DEVICE BoxPlace box(std::uint32_t segment, std::uint32_t column) const { return {0, column / 2, segment}; }
};
