// micro_exp2: kernels/attention/exp2.cuh, one value a thread. input: float32 bits, 256 a block; output: 2^x without a clamp,
// then, after gridDim.x * 256 of them, with one.
#include "../attention/exp2.cuh"
#include "../params_tests.h"

PID_KERNEL(micro_exp2, PidMicroParams, test_entry(256, 1)) {
    const std::uint32_t i = blockIdx.x * 256 + threadIdx.x;
    const float x = bits_to_float(params.input[i]);
    params.output[i] = float_to_bits(exp2_polynomial<false>(x));
    params.output[gridDim.x * 256 + i] = float_to_bits(exp2_polynomial<true>(x));
}
