// gemm_swiglu_*_sm90: gemm_swiglu (swiglu.cu) by TMA and wgmma.
//   sm_90a; tiles and the way to share the work as named (product_sm90.cuh), bulk: results leave by bulk stores
//   (boxes_sm90.cuh); grid at most one block an SM, in whole clusters;
//   block 384, smem up to 227 KB.
#include "boxes_sm90.cuh"
#include "swiglu.cuh"

template <int kColumns, bool kPingPong, int kBlocks, bool kBulk = false>
using SwiGluShape = ProductShape<kColumns, kPingPong, kBlocks, 24, kBulk, staged_bytes(SwiGluEpilogue<>::kArrays, kColumns)>;

template <class Shape, int kFault>
PID_DEVICE void swiglu_sm90(const WithMaps<PidSwiGluParams>& params) {
    gemm_rows<Shape, 64, kFault, SwiGluEpilogue>(params.tma, params.op);
}

template <class Shape, int kFault>
PID_DEVICE void swiglu_boxes(const WithBoxes<PidSwiGluParams>& params) {
    gemm_boxes<Shape, kFault, SwiGluEpilogue>(params.tma, params.op);
}

PID_KERNEL(gemm_swiglu_128x256_sm90, WithMaps<PidSwiGluParams>, kProductThreads, 1) {
    swiglu_sm90<SwiGluShape<256, false, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_swiglu_128x256_pair_sm90, WithMaps<PidSwiGluParams>, kProductThreads, 1, 2) {
    swiglu_sm90<SwiGluShape<256, false, 2>, kSoundProduct>(params);
}
PID_KERNEL(gemm_swiglu_128x128_pingpong_sm90, WithMaps<PidSwiGluParams>, kProductThreads, 1) {
    swiglu_sm90<SwiGluShape<128, true, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_swiglu_128x128_pingpong_pair_sm90, WithMaps<PidSwiGluParams>, kProductThreads, 1, 2) {
    swiglu_sm90<SwiGluShape<128, true, 2>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_swiglu_128x256_pair_bulk_sm90, WithBoxes<PidSwiGluParams>, kProductThreads, 1, 2) {
    swiglu_boxes<SwiGluShape<256, false, 2, true>, kSoundProduct>(params);
}

PID_FAULT_KERNEL(gemm_swiglu_128x256_sm90_no_slot_wait, WithMaps<PidSwiGluParams>, kProductThreads,
                 swiglu_sm90<SwiGluShape<256, false, 1>, kNoSlotWait>)
PID_FAULT_KERNEL(gemm_swiglu_128x256_sm90_no_row_bound, WithMaps<PidSwiGluParams>, kProductThreads,
                 swiglu_sm90<SwiGluShape<256, false, 1>, kNoRowBound>)
PID_FAULT_CLUSTER_KERNEL(gemm_swiglu_128x256_pair_bulk_sm90_no_box_fence, WithBoxes<PidSwiGluParams>, kProductThreads, 2,
                         swiglu_boxes<SwiGluShape<256, false, 2, true>, kNoBoxFence>)
PID_FAULT_CLUSTER_KERNEL(gemm_swiglu_128x256_pair_bulk_sm90_no_reuse_wait, WithBoxes<PidSwiGluParams>, kProductThreads, 2,
                         swiglu_boxes<SwiGluShape<256, false, 2, true>, kNoReuseWait>)
