// third_family: the portable products under other names, as a family of their own, which no list of the project has: the
// test of what a new family takes (tests/kernels/third_family.rs).
#include "gemm/latent_gate.cuh"
#include "gemm/linear.cuh"
#include "gemm/qkv.cuh"
#include "gemm/residual.cuh"
#include "gemm/swiglu.cuh"

constexpr KernelEntry of_third(KernelEntry entry) {
    entry.family = "third";
    return entry;
}

PID_KERNEL(third_linear, PidLinearParams, of_third(gemm_entry<128>("gemm_linear").with_n_multiple(8))) {
    gemm_tile<8, false, kNoFault>(params.gemm, LinearEpilogue<true>(params));
}
// The same again: a second variant.
PID_KERNEL(third_linear_twin, PidLinearParams, of_third(gemm_entry<128>("gemm_linear").with_n_multiple(8))) {
    gemm_tile<8, false, kNoFault>(params.gemm, LinearEpilogue<true>(params));
}
PID_KERNEL(third_qkv_folded_d64, PidQkvParams, of_third(gemm_entry<128>("gemm_qkv_folded_d64"))) {
    gemm_tile<8, false, kNoFault>(params.gemm, QkvEpilogue<64, true>(params));
}
PID_KERNEL(third_swiglu, PidSwiGluParams, of_third(gemm_entry<128>("gemm_swiglu"))) {
    gemm_tile<8, false, kNoFault>(params.gemm, SwiGluEpilogue<>(params));
}
PID_KERNEL(third_residual, PidResidualParams, of_third(gemm_entry<128>("gemm_residual"))) {
    gemm_tile<8, true, kNoFault, Groups16>(params.gemm, ResidualEpilogue<>(params));
}
PID_KERNEL(third_latent_gate, PidLatentGateParams, of_third(gemm_entry<128>("gemm_latent_gate"))) {
    gemm_tile<8, false, kNoFault, Groups16>(params.gemm, LatentGateEpilogue<>(params));
}
