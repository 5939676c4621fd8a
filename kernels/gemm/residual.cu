// gemm_residual: residual += gate * (A W^T + bias), and what the next product reads of it
//   A [joint rows, k] bf16, W [n, ldb] bf16, bias and gate [n] f32, residual [rows, n] f32 by stream row (float32: at 2 of
//   13 bytes a value that a step moves it costs little, and 28 sums in bf16 would lose 3 digits); n a multiple of 64.
//   sm_80+; 128 x 128 tiles, grid (row tiles of both groups) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: op GatedResidual (src/graph/op.rs).
#include "residual.cuh"

template <int kFault>
PID_DEVICE void gemm_residual_body(const PidResidualParams& params) {
    gemm_tile<8, true, kFault, Groups16>(params.gemm, ResidualEpilogue<>(params));
}

PID_KERNEL(gemm_residual, PidResidualParams, gemm_entry<128>("gemm_residual")) { gemm_residual_body<kNoFault>(params); }

PID_FAULT(gemm_residual, no_slot_barrier, gemm_residual_body<kNoSlotBarrier>)
PID_FAULT(gemm_residual, no_store_guard, gemm_residual_body<kNoStoreGuard>)
