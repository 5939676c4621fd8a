// gemm_qkv: z = norm(x) modulated (folded, d64) or x (d72); [q, k, v] = z W^T; q and k: per-head RMS norm, rotary
//   A [rows, k] bf16 by stream row, W [3 heads d, ldb] bf16; q, k, v [B, heads, N, d] bf16, text rows first, so that both
//   streams land in one joint sequence; f32 accumulators, norms and rotation.
//   A warp's columns are one head (d = 64: tile 128 x 128; d = 72: 128 x 144): sums over a head stay in a quad.
//   sm_80+; grid (row tiles of both groups) ceil(3 heads d / BLOCK_N), block 128, smem 48 KB (51 KB); 2 rows n k FLOP.
//   source: op QkvProject (src/graph/op.rs); the folding is the identity r ((x . g) W^T) + shift W^T.
#include "qkv.cuh"

template <int kHeadDim, bool kFolded, int kFault>
PID_DEVICE void gemm_qkv(const PidQkvParams& params) {
    gemm_tile<kHeadDim / 8, false, kFault>(params.gemm, QkvEpilogue<kHeadDim, kFolded>(params));
}

PID_KERNEL(gemm_qkv_folded_d64, PidQkvParams, gemm_entry<128>("gemm_qkv_folded_d64")) { gemm_qkv<64, true, kNoFault>(params); }
PID_KERNEL(gemm_qkv_d72, PidQkvParams, gemm_entry<144>("gemm_qkv_d72").with_n_multiple(72)) { gemm_qkv<72, false, kNoFault>(params); }

PID_FAULT(gemm_qkv_d72, no_slot_barrier, gemm_qkv<72, false, kNoSlotBarrier>)
PID_FAULT(gemm_qkv_d72, no_copy_wait, gemm_qkv<72, false, kNoCopyWait>)
PID_FAULT(gemm_qkv_d72, no_store_guard, gemm_qkv<72, false, kNoStoreGuard>)
