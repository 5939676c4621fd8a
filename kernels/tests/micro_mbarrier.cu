// micro_mbarrier: barriers in shared memory by themselves; micro_tma has the ones that count bytes. Grid 1.
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

// Warp 1 fills 3 times one slot of 32 words, warp 0 reads it; `full` and `empty` count 32 arrivals a phase.
// output[32 i + t] = input[32 i + t], i < 3.
PID_KERNEL(micro_mbarrier_ring, PidMicroParams, test_entry(64, 1)) {
    struct Smem {
        std::uint64_t full, empty;
        std::uint32_t x[32];
    };
    PID_SHARED(Smem, smem);
    const std::uint32_t t = static_cast<std::uint32_t>(threadIdx.x), lane = t % 32;
    if (t == 0) {
        mbarrier_init(&smem.full, 32);
        mbarrier_init(&smem.empty, 32);
        fence_mbarrier_init_release_cluster();
    }
    syncthreads();
    for (std::uint32_t i = 0; i < 3; ++i) {
        if (t >= 32) {
            // The slot is free at first: the phase before the first counts as complete.
            mbarrier_wait_parity(&smem.empty, i % 2 ^ 1);
            smem.x[lane] = params.input[32 * i + lane];
            mbarrier_arrive(&smem.full);
        } else {
            mbarrier_wait_parity(&smem.full, i % 2);
            params.output[32 * i + lane] = smem.x[lane];
            mbarrier_arrive(&smem.empty);
        }
    }
    syncthreads();
    if (t == 0) {
        mbarrier_inval(&smem.full);
        mbarrier_inval(&smem.empty);
    }
}

// One thread, a barrier of 2 arrivals: output = 1 (parity 1 before any arrival), 0 (parity 0), 0 (after one arrival),
// 1 (after two), 0 (parity 1 then).
PID_KERNEL(micro_mbarrier_try_wait_parity, PidMicroParams, test_entry(32, 1)) {
    struct Smem {
        std::uint64_t bar;
    };
    PID_SHARED(Smem, smem);
    if (threadIdx.x != 0) return;
    mbarrier_init(&smem.bar, 2);
    params.output[0] = mbarrier_try_wait_parity(&smem.bar, 1) ? 1 : 0;
    params.output[1] = mbarrier_try_wait_parity(&smem.bar, 0) ? 1 : 0;
    mbarrier_arrive(&smem.bar);
    params.output[2] = mbarrier_try_wait_parity(&smem.bar, 0) ? 1 : 0;
    mbarrier_arrive(&smem.bar);
    params.output[3] = mbarrier_try_wait_parity(&smem.bar, 0) ? 1 : 0;
    params.output[4] = mbarrier_try_wait_parity(&smem.bar, 1) ? 1 : 0;
}
