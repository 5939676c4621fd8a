// gemm_linear: output = A W^T + bias
//   A [rows, k] bf16, W [n, ldb] bf16, bias [n] f32, output [rows, n] bf16; rows 16-byte aligned, k a multiple of 8, n any
//   (16-byte stores where n is a multiple of 8); f32 accumulators.
//   sm_80+; 128 x 128 tiles, grid ceil(rows / 128) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: spec of the op in src/graph/op.rs (Linear); tiling after CUTLASS's sm80 multistage mainloop.
#include "epilogue.cuh"

struct LinearEpilogue {
    const PidLinearParams& params;

    PID_DEVICE void row(int group, const Row& row, bool valid, std::uint32_t column, int q, float (&v)[16]) const {
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

template <int kFault>
PID_DEVICE void gemm_linear_body(const PidLinearParams& params) {
    gemm_tile<8, false, kFault>(params.gemm, LinearEpilogue{params});
}

PID_KERNEL(gemm_linear, PidLinearParams, kGemmThreads, 2) { gemm_linear_body<kNoFault>(params); }

PID_FAULT_KERNEL(gemm_linear_no_copy_wait, PidLinearParams, kGemmThreads, gemm_linear_body<kNoCopyWait>)
PID_FAULT_KERNEL(gemm_linear_no_slot_barrier, PidLinearParams, kGemmThreads, gemm_linear_body<kNoSlotBarrier>)
PID_FAULT_KERNEL(gemm_linear_no_row_guard, PidLinearParams, kGemmThreads, gemm_linear_body<kNoRowGuard>)
PID_FAULT_KERNEL(gemm_linear_no_inner_guard, PidLinearParams, kGemmThreads, gemm_linear_body<kNoInnerGuard>)
PID_FAULT_KERNEL(gemm_linear_no_column_guard, PidLinearParams, kGemmThreads, gemm_linear_body<kNoColumnGuard>)
PID_FAULT_KERNEL(gemm_linear_no_store_guard, PidLinearParams, kGemmThreads, gemm_linear_body<kNoStoreGuard>)
