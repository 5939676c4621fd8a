// gemm_swiglu: output = silu(w1 z) * (w3 z), z = norm(x) modulated (folded)
//   A [rows, k] bf16 by stream row, W [n, ldb] bf16 with w1's and w3's rows interleaved, output [joint rows, n / 2] bf16;
//   n a multiple of 64; f32 accumulators.
//   sm_80+; 128 x 128 tiles, grid (row tiles of both groups) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: op SwiGlu (src/graph/op.rs).
#include "epilogue.cuh"

struct SwiGluEpilogue {
    const PidSwiGluParams& params;

    PID_DEVICE void row(int group, const Row& row, bool valid, std::uint32_t column, int q, float (&v)[16]) const {
        const PidFold& fold = params.fold[group];
        const float r = folded_inverse_rms(fold.sums, row.stream, params.gemm.k, q);
        if (!valid) return;
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

template <int kFault>
PID_DEVICE void gemm_swiglu_body(const PidSwiGluParams& params) {
    gemm_tile<8, false, kFault>(params.gemm, SwiGluEpilogue{params});
}

PID_KERNEL(gemm_swiglu, PidSwiGluParams, kGemmThreads, 2) { gemm_swiglu_body<kNoFault>(params); }

PID_FAULT_KERNEL(gemm_swiglu_no_slot_barrier, PidSwiGluParams, kGemmThreads, gemm_swiglu_body<kNoSlotBarrier>)
PID_FAULT_KERNEL(gemm_swiglu_no_store_guard, PidSwiGluParams, kGemmThreads, gemm_swiglu_body<kNoStoreGuard>)
