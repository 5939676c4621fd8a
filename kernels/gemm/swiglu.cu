// gemm_swiglu: output = silu(w1 z) * (w3 z), z = norm(x) modulated (folded)
//   A [rows, k] bf16 by stream row, W [n, ldb] bf16 with w1's and w3's rows interleaved, output [joint rows, n / 2] bf16;
//   n a multiple of 64; f32 accumulators.
//   sm_80+; 128 x 128 tiles, grid (row tiles of both groups) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: op SwiGlu (src/graph/op.rs).
#include "swiglu.cuh"

template <int kFault>
PID_DEVICE void gemm_swiglu_body(const PidSwiGluParams& params) {
    gemm_tile<8, false, kFault>(params.gemm, SwiGluEpilogue<>(params));
}

PID_KERNEL(gemm_swiglu, PidSwiGluParams, gemm_entry<128>("gemm_swiglu")) { gemm_swiglu_body<kNoFault>(params); }

PID_FAULT(gemm_swiglu, no_slot_barrier, gemm_swiglu_body<kNoSlotBarrier>)
PID_FAULT(gemm_swiglu, no_store_guard, gemm_swiglu_body<kNoStoreGuard>)
