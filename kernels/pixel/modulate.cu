// gemm_pixel_modulate: output = rms(pixels; norm) * (1 + scale) + shift, [shift, scale] = A W^T + bias per pixel
//   A [rows, k] bf16, W [n, ldb] bf16 with rows [pixel, shift | scale, 16], bias [n] f32, pixels [rows, n / 32, 16] bf16,
//   output [rows, n / 2] bf16; n a multiple of 64; f32 accumulators and norm.
//   A warp's 64 columns are two pixels; thread q of a quad holds channels 4q .. 4q + 3 of both their slots.
//   sm_80+; 128 x 128 tiles, grid ceil(rows / 128) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: op PixelModulate (src/graph/op.rs).
#include "modulate.cuh"

template <int kFault>
PID_DEVICE void gemm_pixel_modulate_body(const PidPixelModulateParams& params) {
    gemm_tile<8, false, kFault, Groups16>(params.gemm, PixelModulateEpilogue<>(params));
}

PID_KERNEL(gemm_pixel_modulate, PidPixelModulateParams, gemm_entry<128>("gemm_pixel_modulate")) { gemm_pixel_modulate_body<kNoFault>(params); }

PID_FAULT(gemm_pixel_modulate, no_slot_barrier, gemm_pixel_modulate_body<kNoSlotBarrier>)
PID_FAULT(gemm_pixel_modulate, no_store_guard, gemm_pixel_modulate_body<kNoStoreGuard>)
