// sanitizers: kernels that are right, and on the emulator copies with faults that nothing but a sanitizer build finds, or
// names the line of. tests/kernels/sanitizers.rs says which sanitizer reports which.
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

namespace {

struct Words {
    std::uint32_t x[128];
};

// output[t] = input[t ^ 127]; block 128.
//   1: the data is read before the wait   2: a read past the end of shared memory   3: no barrier, so a race
//   4: a signed overflow (input[128] = 2^31 - 1)
template <int kFault>
PID_DEVICE void copy(const PidMicroParams& params) {
    PID_SHARED(Words, smem);
    const std::uint32_t t = threadIdx.x;
    if (t < 32) cp_async_cg_16(smem.x + 4 * t, params.input + 4 * t);
    cp_async_commit_group();
    if (kFault == 1) params.output[t] = smem.x[t];
    cp_async_wait_group<0>();
    if (kFault != 3) syncthreads();
    // Through the input, so that the compiler cannot see it.
    const std::uint32_t past = kFault == 2 ? params.input[129] : 0;
    params.output[t] = *(smem.x + (t ^ 127) + past);
    if (kFault == 4) {
        int big = static_cast<int>(params.input[128]);
        big += 1;
        params.output[t] = static_cast<std::uint32_t>(big);
    }
}

// output[128 b + t] = input[t]; grid 2, block 128.
//   1: both blocks write the first half
template <int kFault>
PID_DEVICE void blocks(const PidMicroParams& params) {
    const std::uint32_t first = kFault == 1 ? 0 : blockIdx.x * 128;
    params.output[first + threadIdx.x] = params.input[threadIdx.x];
}

struct alignas(1024) Operands {
    std::uint16_t a[64 * 64];
    std::uint16_t b[64 * 64];
};

// d = A B^T, n = 64, operands as they lie in shared memory; block 128.
//   1: only warp 0 fences its stores
template <int kFault>
PID_DEVICE void product(const PidMicroWgmmaParams& params) {
    PID_SHARED(Operands, smem);
    const std::uint32_t t = threadIdx.x;
    for (std::uint32_t i = t; i < 64 * 64; i += 128) {
        smem.a[i] = params.a[i];
        smem.b[i] = params.b[i];
    }
    if (kFault != 1 || t < 32) fence_proxy_async();
    syncthreads();
    float d[32];
    for (int r = 0; r < 32; ++r) d[r] = 0.0f;
    wgmma_fence(d);
    wgmma_m64nNk16_bf16<64>(d, wgmma_descriptor(smem.a, 16, 1024, WgmmaSwizzle::bytes_128),
                            wgmma_descriptor(smem.b, 16, 1024, WgmmaSwizzle::bytes_128), true);
    wgmma_commit_group();
    wgmma_wait_group<0>(d);
    for (std::uint32_t r = 0; r < 32; ++r) params.d[t * 32 + r] = d[r];
}

struct Bar {
    std::uint64_t bar;
};

// output[128 b + t] = input[t] + b: each of the two CTAs of a cluster reads what the other has written, tells it so, and
// then writes its own over; grid 2, block 128.
//   1: no cluster barrier before the read   2: the one who writes over does not wait for the one who has read
template <int kFault>
PID_DEVICE void cluster(const PidMicroParams& params) {
    PID_SHARED(Bar, smem);
    const std::uint32_t t = threadIdx.x, rank = cluster_ctarank();
    if (t == 0) {
        mbarrier_init(&smem.bar, 128);
        fence_mbarrier_init_release_cluster();
    }
    params.output[128 * rank + t] = params.input[t];
    if (kFault != 1) {
        barrier_cluster_arrive_release();
        barrier_cluster_wait_acquire();
    }
    const std::uint32_t read = params.output[128 * (rank ^ 1) + t];
    if (kFault == 1) {
        barrier_cluster_arrive_release();
        barrier_cluster_wait_acquire();
    }
    mbarrier_arrive_cluster(&smem.bar, rank ^ 1);
    if (kFault != 2) mbarrier_wait_parity(&smem.bar, 0);
    params.output[128 * rank + t] = read + rank;
    barrier_cluster_arrive_release();
    barrier_cluster_wait_acquire();
}

}  // namespace

PID_KERNEL(sanitize_copy, PidMicroParams, test_entry(128, 1)) { copy<0>(params); }
PID_FAULT(sanitize_copy, 1, copy<1>)
PID_FAULT(sanitize_copy, 2, copy<2>)
PID_FAULT(sanitize_copy, 3, copy<3>)
PID_FAULT(sanitize_copy, 4, copy<4>)

PID_KERNEL(sanitize_blocks, PidMicroParams, test_entry(128, 1)) { blocks<0>(params); }
PID_FAULT(sanitize_blocks, 1, blocks<1>)

PID_CLUSTER_KERNEL(sanitize_cluster, PidMicroParams, test_entry(128, 1, 2)) { cluster<0>(params); }
PID_FAULT(sanitize_cluster, 1, cluster<1>)
PID_FAULT(sanitize_cluster, 2, cluster<2>)

PID_KERNEL(sanitize_product, PidMicroWgmmaParams, test_entry(128, 1)) { product<0>(params); }
PID_FAULT(sanitize_product, 1, product<1>)
