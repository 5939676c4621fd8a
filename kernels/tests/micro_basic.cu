// micro_basic: one entry for each intrinsic that moves values between threads or computes one value. Each writes what every
// thread got; the expected value stands above. Grid 1; block as given to PID_KERNEL.
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

namespace {
PID_DEVICE std::uint32_t thread_index() { return static_cast<std::uint32_t>(threadIdx.x); }
}  // namespace

// output[t] = bf16(input[2 t]) | bf16(input[2 t + 1]) << 16, to nearest even; input floats.
PID_KERNEL(micro_cvt_rn_bf16x2, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    params.output[t] = cvt_rn_bf16x2(bits_to_float(params.input[2 * t]), bits_to_float(params.input[2 * t + 1]));
}

// output[t] = input[t ^ 127].
PID_KERNEL(micro_syncthreads, PidMicroParams, test_entry(128, 1)) {
    struct Smem {
        std::uint32_t x[128];
    };
    PID_SHARED(Smem, smem);
    const std::uint32_t t = thread_index();
    smem.x[t] = params.input[t];
    syncthreads();
    params.output[t] = smem.x[t ^ 127];
}

// output[t] = input[t ^ 31].
PID_KERNEL(micro_syncwarp, PidMicroParams, test_entry(32, 1)) {
    struct Smem {
        std::uint32_t x[32];
    };
    PID_SHARED(Smem, smem);
    const std::uint32_t t = thread_index();
    smem.x[t] = params.input[t];
    syncwarp();
    params.output[t] = smem.x[t ^ 31];
}

// Two pairs of warps meet at barriers of their own: output[t] = input[t ^ 63].
PID_KERNEL(micro_bar_sync, PidMicroParams, test_entry(128, 1)) {
    struct Smem {
        std::uint32_t x[128];
    };
    PID_SHARED(Smem, smem);
    const std::uint32_t t = thread_index();
    smem.x[t] = params.input[t];
    if (t < 64)
        bar_sync<1, 64>();
    else
        bar_sync<2, 64>();
    params.output[t] = smem.x[t ^ 63];
}

// Warp 0 writes and arrives, warp 1 waits and reads: output[t] = input[t], t < 32.
PID_KERNEL(micro_bar_arrive, PidMicroParams, test_entry(64, 1)) {
    struct Smem {
        std::uint32_t x[32];
    };
    PID_SHARED(Smem, smem);
    const std::uint32_t t = thread_index();
    if (t < 32) {
        smem.x[t] = params.input[t];
        bar_arrive<1, 64>();
    } else {
        bar_sync<1, 64>();
        params.output[t - 32] = smem.x[t - 32];
    }
}

// output[32 i + t] = input[t ^ 2^i], i < 5.
PID_KERNEL(micro_shfl_xor_sync, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    PID_UNROLL
    for (int i = 0; i < 5; ++i)
        params.output[32 * i + t] = float_to_bits(shfl_xor_sync(kFullMask, bits_to_float(params.input[t]), 1 << i));
}

// The same for doubles: words 2 t and 2 t + 1 of input and, for each i, of 64 words of output.
PID_KERNEL(micro_shfl_xor_sync_double, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    const double* input = reinterpret_cast<const double*>(params.input);
    PID_UNROLL
    for (int i = 0; i < 5; ++i)
        reinterpret_cast<double*>(params.output)[32 * i + t] = shfl_xor_sync(kFullMask, input[t], 1 << i);
}

// Two masks in one warp: output[t] = input[t ^ 1], bit i of output[32 + t] set where input[i] != 0 among t's own 16 lanes.
PID_KERNEL(micro_masks, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    const float value = bits_to_float(params.input[t]);
    float other;
    std::uint32_t votes;
    if (t < 16) {
        syncwarp(0x0000ffffu);
        other = shfl_xor_sync(0x0000ffffu, value, 1);
        votes = ballot_sync(0x0000ffffu, params.input[t] != 0);
    } else {
        other = shfl_xor_sync(0xffff0000u, value, 1);
        votes = ballot_sync(0xffff0000u, params.input[t] != 0);
    }
    params.output[t] = float_to_bits(other);
    params.output[32 + t] = votes;
}

// output[t] = bit i set where input[i] != 0.
PID_KERNEL(micro_ballot_sync, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    params.output[t] = ballot_sync(kFullMask, params.input[t] != 0);
}

// output[t], [32 + t], [64 + t] = 2^x, 1 / x, 1 / sqrt(x) for the float x = input[t]; within 2 ulp of exact, so not equal
// bit by bit between machines. Subnormals count as zeros of their sign.
PID_KERNEL(micro_approx, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    const float x = bits_to_float(params.input[t]);
    params.output[t] = float_to_bits(ex2_approx(x));
    params.output[32 + t] = float_to_bits(rcp_approx(x));
    params.output[64 + t] = float_to_bits(rsqrt_approx(x));
}

// output[t] = 1 in exactly one lane of each warp, else 0; the same lane both times: output[64 + t] = output[t].
PID_KERNEL(micro_elect_one_sync, PidMicroParams, test_entry(64, 1)) {
    const std::uint32_t t = thread_index();
    params.output[t] = elect_one_sync() ? 1 : 0;
    params.output[64 + t] = elect_one_sync() ? 1 : 0;
}
