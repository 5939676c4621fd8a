// swiglu: the epilogue of gemm_swiglu, output = silu(w1 z) * (w3 z); w1 and w3 are even and odd columns.
#pragma once
#include "epilogue.cuh"

struct SwiGluEpilogue : PlainEpilogue {
    struct Fetched {
        float shift[16];
    };
    static constexpr int kPackedWords = 4;
    const PidSwiGluParams& params;

    PID_DEVICE explicit SwiGluEpilogue(const PidSwiGluParams& p) : params(p) {}

    PID_DEVICE float row_factor(int group, const Row& row, int q) const {
        return folded_inverse_rms(params.fold[group].sums, row.stream, params.gemm.k, q);
    }

    PID_DEVICE Fetched fetch(int group, const Row&, bool valid, std::uint32_t column, int q) const {
        Fetched fetched = {};
        if (valid) load_floats(fetched.shift, params.fold[group].shift_product + column + 16 * static_cast<std::uint32_t>(q));
        return fetched;
    }

    PID_DEVICE void row(int group, const Row& row, bool valid, float r, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        if (!valid) return;
        const std::uint32_t first = column + 16 * static_cast<std::uint32_t>(q);
        std::uint32_t packed[kPackedWords];
        pack(group, row, valid, r, column, q, fetched, v, packed);
        const std::size_t line = joint_row(params.gemm.group[group].rows, row);
        store_packed(params.output + line * (params.gemm.n / 2) + first / 2, packed);
    }

    PID_DEVICE void pack(int, const Row&, bool, float r, std::uint32_t, int, const Fetched& fetched, float (&v)[16],
                         std::uint32_t (&packed)[kPackedWords]) const {
        const float(&shift)[16] = fetched.shift;
        float out[8];
        PID_UNROLL
        for (int i = 0; i < 8; ++i)
            out[i] = silu(v[2 * i] * r + shift[2 * i]) * (v[2 * i + 1] * r + shift[2 * i + 1]);
        pack_bf16(packed, out);
    }

    PID_DEVICE BoxPlace box(std::uint32_t segment, std::uint32_t column) const { return {0, column / 2, segment}; }
};
