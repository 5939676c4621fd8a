// swiglu: the epilogue of gemm_swiglu, output = silu(w1 z) * (w3 z); w1 and w3 are even and odd columns.
#pragma once
#include "epilogue.cuh"

struct SwiGluEpilogue : PlainEpilogue {
    const PidSwiGluParams& params;

    PID_DEVICE explicit SwiGluEpilogue(const PidSwiGluParams& p) : params(p) {}

    PID_DEVICE float row_factor(int group, const Row& row, int q) const {
        return folded_inverse_rms(params.fold[group].sums, row.stream, params.gemm.k, q);
    }

    PID_DEVICE void row(int group, const Row& row, bool valid, float r, std::uint32_t column, int q, Fetched,
                        float (&v)[16]) const {
        if (!valid) return;
        const PidFold& fold = params.fold[group];
        const std::uint32_t first = column + 16 * static_cast<std::uint32_t>(q);
        float shift[16], out[8];
        load_floats(shift, fold.shift_product + first);
        PID_UNROLL
        for (int i = 0; i < 8; ++i)
            out[i] = silu(v[2 * i] * r + shift[2 * i]) * (v[2 * i + 1] * r + shift[2 * i + 1]);
        const std::size_t line = joint_row(params.gemm.group[group].rows, row);
        store_bf16(params.output + line * (params.gemm.n / 2) + first / 2, out);
    }
};
