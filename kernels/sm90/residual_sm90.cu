// gemm_residual_*_sm90: residual += gate * (A W^T + bias), and what the next product reads of it, by TMA and wgmma;
//   gemm_residual (gemm/residual.cu) elsewhere
//   A [joint rows, k] bf16, W [n, ldb] bf16, its rows in the order Groups16, bias and gate [n] f32, residual [rows, n] f32;
//   n a multiple of 64, k of 8; a launch's joint rows are whole samples or rows of one; f32 accumulators.
//   sm_90a; tiles and the way to share the work as named (product.cuh); persistent: grid at most one block an SM, in whole
//   clusters; block 384, smem up to 227 KB; 2 rows n k FLOP.
//   source: op GatedResidual (src/graph/op.rs); the structure is product.cuh's.
#include "epilogue.cuh"
#include "../gemm/residual.cuh"

template <int kColumns, bool kPingPong, int kBlocks, bool kBulk = false>
using ResidualShape = ProductShape<kColumns, kPingPong, kBlocks, 24, kBulk, staged_bytes(ResidualEpilogue<>::kArrays, kColumns)>;

template <class Shape, int kFault>
PID_DEVICE void residual_sm90(const WithMaps<PidResidualParams>& params) {
    gemm_rows<Shape, 64, kFault, ResidualEpilogue>(params.tma, params.op);
}

template <class Shape>
constexpr KernelEntry residual_entry() {
    return product_entry<Shape>("gemm_residual", kGroupsOf16);
}

PID_KERNEL(gemm_residual_128x256_sm90, WithMaps<PidResidualParams>, residual_entry<ResidualShape<256, false, 1>>()) {
    residual_sm90<ResidualShape<256, false, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_residual_128x256_pair_sm90, WithMaps<PidResidualParams>,
                   residual_entry<ResidualShape<256, false, 2>>()) {
    residual_sm90<ResidualShape<256, false, 2>, kSoundProduct>(params);
}
PID_KERNEL(gemm_residual_128x128_pingpong_sm90, WithMaps<PidResidualParams>,
           residual_entry<ResidualShape<128, true, 1>>()) {
    residual_sm90<ResidualShape<128, true, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_residual_128x128_pingpong_pair_sm90, WithMaps<PidResidualParams>,
                   residual_entry<ResidualShape<128, true, 2>>()) {
    residual_sm90<ResidualShape<128, true, 2>, kSoundProduct>(params);
}

PID_FAULT(gemm_residual_128x256_sm90, no_slot_wait, residual_sm90<ResidualShape<256, false, 1>, kNoSlotWait>)
PID_FAULT(gemm_residual_128x256_sm90, no_row_bound, residual_sm90<ResidualShape<256, false, 1>, kNoRowBound>)
PID_FAULT(gemm_residual_128x256_sm90, no_column_bound, residual_sm90<ResidualShape<256, false, 1>, kNoColumnBound>)
PID_FAULT(gemm_residual_128x256_sm90, no_staged_reuse, residual_sm90<ResidualShape<256, false, 1>, kNoStagedReuse>)
PID_FAULT(gemm_residual_128x256_sm90, no_staged_wait, residual_sm90<ResidualShape<256, false, 1>, kNoStagedWait>)
PID_FAULT(gemm_residual_128x256_sm90, no_staged_sync, residual_sm90<ResidualShape<256, false, 1>, kNoStagedSync>)
