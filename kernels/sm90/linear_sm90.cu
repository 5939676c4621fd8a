// gemm_linear_*_sm90: output = A W^T + bias, by TMA and wgmma; gemm_linear (gemm/linear.cu) elsewhere
//   A [rows, k] bf16, W [stored n, ldb] bf16, its rows in the order Consecutive16 of heads of 64, bias [n] f32, output [rows, n]
//   bf16, by stream row; n and k multiples of 8, any rows; f32 accumulators.
//   sm_90a; tiles and the way to share the work as named (product.cuh), bulk: results leave by bulk stores (boxes.cuh);
//   persistent: grid at most one block an SM, in whole clusters; block 384, smem up to 227 KB; 2 rows n k FLOP.
//   source: op Linear (src/graph/op.rs); the structure is product.cuh's.
#include "boxes.cuh"
#include "../gemm/linear.cuh"

template <class Columns>
using Epilogue = LinearEpilogue<true, Columns>;

template <int kColumns, bool kPingPong, int kBlocks, bool kBulk = false>
using LinearShape = ProductShape<kColumns, kPingPong, kBlocks, 24, kBulk, staged_bytes(Epilogue<ColumnsInMemory>::kArrays, kColumns)>;

template <class Shape, int kFault>
PID_DEVICE void linear_sm90(const WithMaps<PidLinearParams>& params) {
    gemm_rows<Shape, 64, kFault, Epilogue>(params.tma, params.op);
}

template <class Shape, int kFault>
PID_DEVICE void linear_boxes(const WithBoxes<PidLinearParams>& params) {
    gemm_boxes<Shape, kFault, Epilogue>(params.tma, params.op);
}

template <class Shape>
constexpr KernelEntry linear_entry() {
    return product_entry<Shape>("gemm_linear", kHeadsOf64).with_n_multiple(8);
}

PID_KERNEL(gemm_linear_128x256_sm90, WithMaps<PidLinearParams>, linear_entry<LinearShape<256, false, 1>>()) {
    linear_sm90<LinearShape<256, false, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_linear_128x256_pair_sm90, WithMaps<PidLinearParams>,
                   linear_entry<LinearShape<256, false, 2>>()) {
    linear_sm90<LinearShape<256, false, 2>, kSoundProduct>(params);
}
PID_KERNEL(gemm_linear_128x128_pingpong_sm90, WithMaps<PidLinearParams>, linear_entry<LinearShape<128, true, 1>>()) {
    linear_sm90<LinearShape<128, true, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_linear_128x128_pingpong_pair_sm90, WithMaps<PidLinearParams>,
                   linear_entry<LinearShape<128, true, 2>>()) {
    linear_sm90<LinearShape<128, true, 2>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_linear_128x256_pair_bulk_sm90, WithBoxes<PidLinearParams>,
                   linear_entry<LinearShape<256, false, 2, true>>()) {
    linear_boxes<LinearShape<256, false, 2, true>, kSoundProduct>(params);
}

PID_FAULT(gemm_linear_128x256_sm90, no_slot_wait, linear_sm90<LinearShape<256, false, 1>, kNoSlotWait>)
PID_FAULT(gemm_linear_128x256_sm90, no_data_wait, linear_sm90<LinearShape<256, false, 1>, kNoDataWait>)
PID_FAULT(gemm_linear_128x256_sm90, early_release, linear_sm90<LinearShape<256, false, 1>, kEarlyRelease>)
PID_FAULT(gemm_linear_128x256_sm90, part_release, linear_sm90<LinearShape<256, false, 1>, kPartRelease>)
PID_FAULT(gemm_linear_128x256_sm90, no_last_wait, linear_sm90<LinearShape<256, false, 1>, kNoLastWait>)
PID_FAULT(gemm_linear_128x256_sm90, no_row_bound, linear_sm90<LinearShape<256, false, 1>, kNoRowBound>)
PID_FAULT(gemm_linear_128x256_sm90, no_accumulator_fence, linear_sm90<LinearShape<256, false, 1>, kNoFence>)
PID_FAULT(gemm_linear_128x256_sm90, no_barrier_fence, linear_sm90<LinearShape<256, false, 1>, kNoBarrierFence>)
PID_FAULT(gemm_linear_128x256_sm90, no_set_up_barrier, linear_sm90<LinearShape<256, false, 1>, kNoSetUpBarrier>)
PID_FAULT(gemm_linear_128x128_pingpong_sm90, no_slot_wait, linear_sm90<LinearShape<128, true, 1>, kNoSlotWait>)
PID_FAULT(gemm_linear_128x128_pingpong_sm90, no_data_wait, linear_sm90<LinearShape<128, true, 1>, kNoDataWait>)
PID_FAULT(gemm_linear_128x128_pingpong_sm90, early_release, linear_sm90<LinearShape<128, true, 1>, kEarlyRelease>)
PID_FAULT(gemm_linear_128x128_pingpong_sm90, no_last_wait, linear_sm90<LinearShape<128, true, 1>, kNoLastWait>)
PID_FAULT(gemm_linear_128x128_pingpong_sm90, no_turns, linear_sm90<LinearShape<128, true, 1>, kNoTurns>)
PID_FAULT(gemm_linear_128x256_pair_sm90, no_peer_release, linear_sm90<LinearShape<256, false, 2>, kNoPeerRelease>)
PID_FAULT(gemm_linear_128x256_pair_sm90, no_peer_exit, linear_sm90<LinearShape<256, false, 2>, kNoPeerExit>)
PID_FAULT(gemm_linear_128x256_pair_sm90, no_slot_wait, linear_sm90<LinearShape<256, false, 2>, kNoSlotWait>)
PID_FAULT(gemm_linear_128x256_pair_sm90, no_set_up_barrier, linear_sm90<LinearShape<256, false, 2>, kNoSetUpBarrier>)
PID_FAULT(gemm_linear_128x128_pingpong_pair_sm90, no_peer_release,
          linear_sm90<LinearShape<128, true, 2>, kNoPeerRelease>)
PID_FAULT(gemm_linear_128x256_pair_bulk_sm90, no_box_fence, linear_boxes<LinearShape<256, false, 2, true>, kNoBoxFence>)
PID_FAULT(gemm_linear_128x256_pair_bulk_sm90, no_box_sync, linear_boxes<LinearShape<256, false, 2, true>, kNoBoxSync>)
PID_FAULT(gemm_linear_128x256_pair_bulk_sm90, no_reuse_wait,
          linear_boxes<LinearShape<256, false, 2, true>, kNoReuseWait>)
PID_FAULT(gemm_linear_128x256_pair_bulk_sm90, no_reuse_sync,
          linear_boxes<LinearShape<256, false, 2, true>, kNoReuseSync>)
PID_FAULT(gemm_linear_128x256_pair_bulk_sm90, no_end_wait, linear_boxes<LinearShape<256, false, 2, true>, kNoEndWait>)
