// gemm_linear_*_sm90: gemm_linear (linear.cu) by TMA and wgmma; n a multiple of 8.
//   sm_90a; tiles 128 x 256 or 128 x 128, grid at most one block an SM (whole clusters), block 384.
#include "epilogue_sm90.cuh"
#include "linear.cuh"

template <class Shape, int kFault>
PID_DEVICE void linear_sm90(const WithMaps<PidLinearParams>& params) {
    gemm_rows<Shape, 64, kFault>(params.tma, params.op.gemm, LinearEpilogue(params.op));
}

PID_KERNEL(gemm_linear_128x256_sm90, WithMaps<PidLinearParams>, kProductThreads, 1) {
    linear_sm90<ProductShape<256, false, 1>, kSoundProduct>(params);
}
PID_KERNEL(gemm_linear_128x128_pingpong_sm90, WithMaps<PidLinearParams>, kProductThreads, 1) {
    linear_sm90<ProductShape<128, true, 1>, kSoundProduct>(params);
}
