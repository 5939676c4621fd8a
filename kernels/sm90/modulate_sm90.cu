// gemm_pixel_modulate_*_sm90: output = rms(pixels; norm) * (1 + scale) + shift, [shift, scale] = A W^T + bias per pixel, by TMA
//   and wgmma; gemm_pixel_modulate (pixel/modulate.cu) elsewhere
//   A [rows, k] bf16, W [n, ldb] bf16 with rows [pixel, shift | scale, 16] in the order Groups16, pixels [rows, n / 32, 16] and
//   output [rows, n / 2] bf16; 64 columns are two pixels; n a multiple of 64, k of 8; f32 accumulators and norm.
//   sm_90a; tiles and the way to share the work as named (product.cuh); persistent: grid at most one block an SM, in whole
//   clusters; block 384, smem up to 227 KB; 2 rows n k FLOP.
//   source: op PixelModulate (src/graph/op.rs); the structure is product.cuh's.
#include "epilogue.cuh"
#include "../pixel/modulate.cuh"

template <int kColumns, bool kPingPong, int kBlocks>
using ModulateShape = ProductShape<kColumns, kPingPong, kBlocks, 24, false, staged_bytes(PixelModulateEpilogue<>::kArrays, kColumns)>;

template <class Shape, int kFault>
PID_DEVICE void modulate_sm90(const WithMaps<PidPixelModulateParams>& params) {
    gemm_rows<Shape, 64, kFault, PixelModulateEpilogue>(params.tma, params.op);
}

template <class Shape>
constexpr KernelEntry modulate_entry() {
    return product_entry<Shape>("gemm_pixel_modulate", kGroupsOf16);
}

PID_KERNEL(gemm_pixel_modulate_128x256_sm90, WithMaps<PidPixelModulateParams>,
           modulate_entry<ModulateShape<256, false, 1>>()) {
    modulate_sm90<ModulateShape<256, false, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_pixel_modulate_128x256_pair_sm90, WithMaps<PidPixelModulateParams>,
                   modulate_entry<ModulateShape<256, false, 2>>()) {
    modulate_sm90<ModulateShape<256, false, 2>, kSoundProduct>(params);
}
PID_KERNEL(gemm_pixel_modulate_128x128_pingpong_sm90, WithMaps<PidPixelModulateParams>,
           modulate_entry<ModulateShape<128, true, 1>>()) {
    modulate_sm90<ModulateShape<128, true, 1>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_pixel_modulate_128x128_pingpong_pair_sm90, WithMaps<PidPixelModulateParams>,
                   modulate_entry<ModulateShape<128, true, 2>>()) {
    modulate_sm90<ModulateShape<128, true, 2>, kSoundProduct>(params);
}

PID_FAULT(gemm_pixel_modulate_128x256_sm90, no_slot_wait, modulate_sm90<ModulateShape<256, false, 1>, kNoSlotWait>)
PID_FAULT(gemm_pixel_modulate_128x256_sm90, no_row_bound, modulate_sm90<ModulateShape<256, false, 1>, kNoRowBound>)
