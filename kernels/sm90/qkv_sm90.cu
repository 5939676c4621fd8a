// gemm_qkv_*_sm90: [q, k, v] = z W^T with norm and rotary by head, by TMA and wgmma; gemm_qkv (gemm/qkv.cu) elsewhere
//   A [rows, k] bf16 by stream row, W [3 heads d, ldb] bf16, its rows in the order Consecutive16 of heads of d; q, k, v
//   [B, heads, N, d] bf16; d = 64 (folded) or 72, a block of d columns is one head; k a multiple of 8; f32 accumulators.
//   sm_90a; tiles and the way to share the work as named (product.cuh), bulk: results leave by bulk stores (boxes.cuh);
//   persistent: grid at most one block an SM, in whole clusters; block 384, smem up to 227 KB; 2 rows n k FLOP.
//   source: op QkvProject (src/graph/op.rs); the structure is product.cuh's.
#include "boxes.cuh"
#include "../gemm/qkv.cuh"

template <class Columns>
using Folded64 = QkvEpilogue<64, true, Columns>;
template <class Columns>
using Plain72 = QkvEpilogue<72, false, Columns>;

template <class Shape, template <class> class Epilogue, int kHeadDim, int kFault>
PID_DEVICE void qkv_sm90(const WithMaps<PidQkvParams>& params) {
    gemm_rows<Shape, kHeadDim, kFault, Epilogue>(params.tma, params.op);
}

template <class Shape, int kFault>
PID_DEVICE void qkv_boxes(const WithBoxes<PidQkvParams>& params) {
    gemm_boxes<Shape, kFault, Folded64>(params.tma, params.op);
}

PID_KERNEL(gemm_qkv_folded_d64_128x256_sm90, WithMaps<PidQkvParams>,
           product_entry<ProductShape<256, false, 1>>("gemm_qkv_folded_d64", kHeadsOf64)) {
    qkv_sm90<ProductShape<256, false, 1>, Folded64, 64, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_qkv_folded_d64_128x256_pair_sm90, WithMaps<PidQkvParams>,
                   product_entry<ProductShape<256, false, 2>>("gemm_qkv_folded_d64", kHeadsOf64)) {
    qkv_sm90<ProductShape<256, false, 2>, Folded64, 64, kSoundProduct>(params);
}
PID_KERNEL(gemm_qkv_folded_d64_128x128_pingpong_sm90, WithMaps<PidQkvParams>,
           product_entry<ProductShape<128, true, 1>>("gemm_qkv_folded_d64", kHeadsOf64)) {
    qkv_sm90<ProductShape<128, true, 1>, Folded64, 64, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_qkv_folded_d64_128x128_pingpong_pair_sm90, WithMaps<PidQkvParams>,
                   product_entry<ProductShape<128, true, 2>>("gemm_qkv_folded_d64", kHeadsOf64)) {
    qkv_sm90<ProductShape<128, true, 2>, Folded64, 64, kSoundProduct>(params);
}
PID_KERNEL(gemm_qkv_d72_128x216_sm90, WithMaps<PidQkvParams>,
           product_entry<ProductShape<216, false, 1>>("gemm_qkv_d72", kHeadsOf72)) {
    qkv_sm90<ProductShape<216, false, 1>, Plain72, 72, kSoundProduct>(params);
}
PID_KERNEL(gemm_qkv_d72_128x144_pingpong_sm90, WithMaps<PidQkvParams>,
           product_entry<ProductShape<144, true, 1>>("gemm_qkv_d72", kHeadsOf72)) {
    qkv_sm90<ProductShape<144, true, 1>, Plain72, 72, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_qkv_d72_128x144_pingpong_pair_sm90, WithMaps<PidQkvParams>,
                   product_entry<ProductShape<144, true, 2>>("gemm_qkv_d72", kHeadsOf72)) {
    qkv_sm90<ProductShape<144, true, 2>, Plain72, 72, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_qkv_folded_d64_128x256_pair_bulk_sm90, WithBoxes<PidQkvParams>,
                   product_entry<ProductShape<256, false, 2, 24, true>>("gemm_qkv_folded_d64", kHeadsOf64)) {
    qkv_boxes<ProductShape<256, false, 2, 24, true>, kSoundProduct>(params);
}

PID_FAULT(gemm_qkv_d72_128x216_sm90, no_slot_wait, qkv_sm90<ProductShape<216, false, 1>, Plain72, 72, kNoSlotWait>)
PID_FAULT(gemm_qkv_d72_128x216_sm90, no_row_bound, qkv_sm90<ProductShape<216, false, 1>, Plain72, 72, kNoRowBound>)
PID_FAULT(gemm_qkv_folded_d64_128x256_sm90, no_slot_wait,
          qkv_sm90<ProductShape<256, false, 1>, Folded64, 64, kNoSlotWait>)
PID_FAULT(gemm_qkv_folded_d64_128x256_sm90, no_row_bound,
          qkv_sm90<ProductShape<256, false, 1>, Folded64, 64, kNoRowBound>)
PID_FAULT(gemm_qkv_folded_d64_128x256_pair_bulk_sm90, no_reuse_wait,
          qkv_boxes<ProductShape<256, false, 2, 24, true>, kNoReuseWait>)
