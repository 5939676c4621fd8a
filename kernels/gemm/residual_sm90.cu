// gemm_residual_*_sm90: gemm_residual (residual.cu) by TMA and wgmma.
//   sm_90a; tiles and the way to share the work as named (product_sm90.cuh); grid at most one block an SM, in whole clusters;
//   block 384, smem up to 227 KB.
#include "epilogue_sm90.cuh"
#include "residual.cuh"

template <int kColumns, bool kPingPong, int kBlocks, bool kBulk = false>
using ResidualShape = ProductShape<kColumns, kPingPong, kBlocks, 24, kBulk, staged_bytes(ResidualEpilogue<>::kArrays, kColumns)>;

template <class Shape, int kFault>
PID_DEVICE void residual_sm90(const WithMaps<PidResidualParams>& params) {
    gemm_rows<Shape, 64, kFault, ResidualEpilogue>(params.tma, params.op);
}

PID_KERNEL(gemm_residual_128x256_sm90, WithMaps<PidResidualParams>, kProductThreads, 1) {
    residual_sm90<ResidualShape<256, false, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_residual_128x256_pair_sm90, WithMaps<PidResidualParams>, kProductThreads, 1, 2) {
    residual_sm90<ResidualShape<256, false, 2>, kSoundProduct>(params);
}
PID_KERNEL(gemm_residual_128x128_pingpong_sm90, WithMaps<PidResidualParams>, kProductThreads, 1) {
    residual_sm90<ResidualShape<128, true, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_residual_128x128_pingpong_pair_sm90, WithMaps<PidResidualParams>, kProductThreads, 1, 2) {
    residual_sm90<ResidualShape<128, true, 2>, kSoundProduct>(params);
}

PID_FAULT_KERNEL(gemm_residual_128x256_sm90_no_slot_wait, WithMaps<PidResidualParams>, kProductThreads,
                 residual_sm90<ResidualShape<256, false, 1>, kNoSlotWait>)
PID_FAULT_KERNEL(gemm_residual_128x256_sm90_no_row_bound, WithMaps<PidResidualParams>, kProductThreads,
                 residual_sm90<ResidualShape<256, false, 1>, kNoRowBound>)
PID_FAULT_KERNEL(gemm_residual_128x256_sm90_no_column_bound, WithMaps<PidResidualParams>, kProductThreads,
                 residual_sm90<ResidualShape<256, false, 1>, kNoColumnBound>)
PID_FAULT_KERNEL(gemm_residual_128x256_sm90_no_staged_reuse, WithMaps<PidResidualParams>, kProductThreads,
                 residual_sm90<ResidualShape<256, false, 1>, kNoStagedReuse>)
PID_FAULT_KERNEL(gemm_residual_128x256_sm90_no_staged_wait, WithMaps<PidResidualParams>, kProductThreads,
                 residual_sm90<ResidualShape<256, false, 1>, kNoStagedWait>)
PID_FAULT_KERNEL(gemm_residual_128x256_sm90_no_staged_sync, WithMaps<PidResidualParams>, kProductThreads,
                 residual_sm90<ResidualShape<256, false, 1>, kNoStagedSync>)
