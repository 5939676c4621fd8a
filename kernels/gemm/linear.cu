// gemm_linear: output = A W^T + bias
//   A [rows, k] bf16, W [n, ldb] bf16, bias [n] f32, output [rows, n] bf16; rows 16-byte aligned, k a multiple of 8, n any
//   (16-byte stores where n is a multiple of 8); f32 accumulators.
//   sm_80+; 128 x 128 tiles, grid ceil(rows / 128) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: spec of the op in src/graph/op.rs (Linear); tiling after CUTLASS's sm80 multistage mainloop.
#include "linear.cuh"

template <int kFault>
PID_DEVICE void gemm_linear_body(const PidLinearParams& params) {
    gemm_tile<8, false, kFault>(params.gemm, LinearEpilogue<false>(params));
}

PID_KERNEL(gemm_linear, PidLinearParams, gemm_entry<128>("gemm_linear").with_n_multiple(1)) { gemm_linear_body<kNoFault>(params); }

PID_FAULT(gemm_linear, no_copy_wait, gemm_linear_body<kNoCopyWait>)
PID_FAULT(gemm_linear, no_slot_barrier, gemm_linear_body<kNoSlotBarrier>)
PID_FAULT(gemm_linear, no_row_guard, gemm_linear_body<kNoRowGuard>)
PID_FAULT(gemm_linear, no_inner_guard, gemm_linear_body<kNoInnerGuard>)
PID_FAULT(gemm_linear, no_column_guard, gemm_linear_body<kNoColumnGuard>)
PID_FAULT(gemm_linear, no_store_guard, gemm_linear_body<kNoStoreGuard>)
