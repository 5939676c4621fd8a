// gemm_latent_gate: stream += sigmoid(A W^T + feature_half - alpha sigma[b]) * features (gate per token and channel),
//   and what the next product reads of the stream
//   A [rows, k] bf16 (the stream, rounded), W [n, ldb] bf16, stream [rows, n] f32 updated, features and feature_half
//   [rows, n] bf16, sigma [B] f32; n a multiple of 64; f32 accumulators. A and the emitted operand are two buffers: tiles
//   of the same rows still read one while others write the other.
//   sm_80+; 128 x 128 tiles, grid ceil(rows / 128) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: op FeatureGate (src/graph/op.rs).
#include "latent_gate.cuh"

template <int kFault>
PID_DEVICE void gemm_latent_gate_body(const PidLatentGateParams& params) {
    gemm_tile<8, false, kFault, Groups16>(params.gemm, LatentGateEpilogue<>(params));
}

PID_KERNEL(gemm_latent_gate, PidLatentGateParams, gemm_entry<128>("gemm_latent_gate")) { gemm_latent_gate_body<kNoFault>(params); }

PID_FAULT(gemm_latent_gate, no_slot_barrier, gemm_latent_gate_body<kNoSlotBarrier>)
PID_FAULT(gemm_latent_gate, no_store_guard, gemm_latent_gate_body<kNoStoreGuard>)
