// gemm_latent_gate_*_sm90: stream += sigmoid(A W^T + feature_half - alpha sigma[b]) * features, by TMA and wgmma;
//   gemm_latent_gate (gemm/latent_gate.cu) elsewhere
//   A [rows, k] bf16, W [n, ldb] bf16, its rows in the order Groups16, stream [rows, n] f32, features and feature_half [rows, n]
//   bf16, sigma [B] f32; n a multiple of 64, k of 8; f32 accumulators.
//   sm_90a; tiles and the way to share the work as named (product.cuh); persistent: grid at most one block an SM, in whole
//   clusters; block 384, smem up to 227 KB; 2 rows n k FLOP.
//   source: op FeatureGate (src/graph/op.rs); the structure is product.cuh's.
#include "epilogue.cuh"
#include "../gemm/latent_gate.cuh"

template <class Shape, int kFault>
PID_DEVICE void latent_gate_sm90(const WithMaps<PidLatentGateParams>& params) {
    gemm_rows<Shape, 64, kFault, LatentGateEpilogue>(params.tma, params.op);
}

template <class Shape>
constexpr KernelEntry latent_gate_entry() {
    return product_entry<Shape>("gemm_latent_gate", kGroupsOf16);
}

PID_KERNEL(gemm_latent_gate_128x256_sm90, WithMaps<PidLatentGateParams>,
           latent_gate_entry<ProductShape<256, false, 1>>()) {
    latent_gate_sm90<ProductShape<256, false, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_latent_gate_128x256_pair_sm90, WithMaps<PidLatentGateParams>,
                   latent_gate_entry<ProductShape<256, false, 2>>()) {
    latent_gate_sm90<ProductShape<256, false, 2>, kSoundProduct>(params);
}

PID_FAULT(gemm_latent_gate_128x256_sm90, no_slot_wait, latent_gate_sm90<ProductShape<256, false, 1>, kNoSlotWait>)
PID_FAULT(gemm_latent_gate_128x256_sm90, no_row_bound, latent_gate_sm90<ProductShape<256, false, 1>, kNoRowBound>)
