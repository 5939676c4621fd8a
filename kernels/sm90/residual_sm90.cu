// gemm_residual_*_sm90: gemm_residual (gemm/residual.cu) by TMA and wgmma.
//   sm_90a; tiles and the way to share the work as named (product.cuh); grid at most one block an SM, in whole clusters;
//   block 384, smem up to 227 KB.
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
