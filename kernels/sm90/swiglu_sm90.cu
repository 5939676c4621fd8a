// gemm_swiglu_*_sm90: output = silu(w1 z) * (w3 z), z = norm(x) modulated (folded), by TMA and wgmma; gemm_swiglu
//   (gemm/swiglu.cu) elsewhere
//   A [rows, k] bf16 by stream row, W [n, ldb] bf16 with w1's and w3's rows interleaved, in the order Consecutive16 of heads of
//   64, output [joint rows, n / 2] bf16; n a multiple of 64, k of 8; f32 accumulators.
//   sm_90a; tiles and the way to share the work as named (product.cuh), bulk: results leave by bulk stores (boxes.cuh);
//   persistent: grid at most one block an SM, in whole clusters; block 384, smem up to 227 KB; 2 rows n k FLOP.
//   source: op SwiGlu (src/graph/op.rs); the structure is product.cuh's.
#include "boxes.cuh"
#include "../gemm/swiglu.cuh"

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

template <class Shape>
constexpr KernelEntry swiglu_entry() {
    return product_entry<Shape>("gemm_swiglu", kHeadsOf64);
}

PID_KERNEL(gemm_swiglu_128x256_sm90, WithMaps<PidSwiGluParams>, swiglu_entry<SwiGluShape<256, false, 1>>()) {
    swiglu_sm90<SwiGluShape<256, false, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_swiglu_128x256_pair_sm90, WithMaps<PidSwiGluParams>,
                   swiglu_entry<SwiGluShape<256, false, 2>>()) {
    swiglu_sm90<SwiGluShape<256, false, 2>, kSoundProduct>(params);
}
PID_KERNEL(gemm_swiglu_128x128_pingpong_sm90, WithMaps<PidSwiGluParams>, swiglu_entry<SwiGluShape<128, true, 1>>()) {
    swiglu_sm90<SwiGluShape<128, true, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_swiglu_128x128_pingpong_pair_sm90, WithMaps<PidSwiGluParams>,
                   swiglu_entry<SwiGluShape<128, true, 2>>()) {
    swiglu_sm90<SwiGluShape<128, true, 2>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_swiglu_128x256_pair_bulk_sm90, WithBoxes<PidSwiGluParams>,
                   swiglu_entry<SwiGluShape<256, false, 2, true>>()) {
    swiglu_boxes<SwiGluShape<256, false, 2, true>, kSoundProduct>(params);
}

PID_FAULT(gemm_swiglu_128x256_sm90, no_slot_wait, swiglu_sm90<SwiGluShape<256, false, 1>, kNoSlotWait>)
PID_FAULT(gemm_swiglu_128x256_sm90, no_row_bound, swiglu_sm90<SwiGluShape<256, false, 1>, kNoRowBound>)
PID_FAULT(gemm_swiglu_128x256_pair_bulk_sm90, no_box_fence, swiglu_boxes<SwiGluShape<256, false, 2, true>, kNoBoxFence>)
PID_FAULT(gemm_swiglu_128x256_pair_bulk_sm90, no_reuse_wait,
          swiglu_boxes<SwiGluShape<256, false, 2, true>, kNoReuseWait>)
