// micro_faults: small kernels in the shape of real ones, and on the emulator copies that each lack one wait, fence or
// arrival. Tests assert that every fault ends in an error or in a wrong result under FIFO, LIFO or a PCT seed; store_fault_4
// and ring_fault_4 are right by luck under some. Grid 1.
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

namespace {

struct alignas(1024) TmaSmem {
    std::uint32_t box[2048];
    std::uint64_t bar;
};

// output = the box at (c0, c1), 8192 bytes or less; block 128.
//   1: the data is read without a wait   2: no fence after the initialisation   3: one byte group more than comes
//   4: the barrier expects two arrivals  5: the phase that is complete is waited for   6: the barrier is not initialised
template <int kFault>
PID_DEVICE void load(const PidMicroTmaParams& params) {
    PID_SHARED(TmaSmem, smem);
    if (threadIdx.x == 0) {
        if (kFault != 6) mbarrier_init(&smem.bar, kFault == 4 ? 2 : 1);
        if (kFault != 2) fence_mbarrier_init_release_cluster();
    }
    syncthreads();
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&smem.bar, params.box_bytes + (kFault == 3 ? 16 : 0));
        cp_async_bulk_tensor_2d_shared_global(smem.box, &params.map, &smem.bar, params.coordinates[0],
                                              params.coordinates[1]);
    }
    if (kFault != 1) mbarrier_wait_parity(&smem.bar, kFault == 5 ? 1 : 0);
    for (std::uint32_t i = threadIdx.x; i < params.box_bytes / 4; i += 128) params.output[i] = smem.box[i];
    if (kFault == 1) mbarrier_wait_parity(&smem.bar, 0);
}

// The box at (c0, c1) of the tensor = input; then shared memory is reused; block 128.
//   1: no fence.proxy.async   2: no wait before the reuse   3: no wait at all   4: no barrier before the store
//   5: the group is not committed
template <int kFault>
PID_DEVICE void store(const PidMicroTmaParams& params) {
    PID_SHARED(TmaSmem, smem);
    for (std::uint32_t i = threadIdx.x; i < params.box_bytes / 4; i += 128) smem.box[i] = params.input[i];
    if (kFault != 1) fence_proxy_async();
    if (kFault != 4) syncthreads();
    if (threadIdx.x == 0) {
        cp_async_bulk_tensor_2d_global_shared(&params.map, smem.box, params.coordinates[0], params.coordinates[1]);
        if (kFault != 5) cp_async_bulk_commit_group();
        if (kFault != 2 && kFault != 3) cp_async_bulk_wait_group_read<0>();
    }
    syncthreads();
    for (std::uint32_t i = threadIdx.x; i < params.box_bytes / 4; i += 128) smem.box[i] = 0;
    syncthreads();
    if (kFault == 2 && threadIdx.x == 0) cp_async_bulk_wait_group_read<0>();
}

struct alignas(1024) WgmmaSmem {
    std::uint16_t a[64 * 64];
    std::uint16_t b[64 * 64];
};

// d = 2 A B^T in two groups of 4 products each, n = 64, both K-major with 128-byte swizzle, A and B as they lie in shared
// memory; block 128.
//   1: no wait   2: no wgmma.fence   3: an accumulator is written in flight   4: the newest group is not waited for
//   5: no fence.proxy.async   6: B is overwritten before the wait   7: the wait does not name the accumulator
//   8: not committed   9: one warp stays away
template <int kFault>
PID_DEVICE void wgmma(const PidMicroWgmmaParams& params) {
    PID_SHARED(WgmmaSmem, smem);
    const std::uint32_t t = threadIdx.x;
    for (std::uint32_t i = t; i < 64 * 64; i += 128) {
        smem.a[i] = params.a[i];
        smem.b[i] = params.b[i];
    }
    if (kFault != 5) fence_proxy_async();
    syncthreads();
    float d[32];
    for (int r = 0; r < 32; ++r) d[r] = 0.0f;
    if (kFault == 9 && t >= 96) return;
    if (kFault != 2) wgmma_fence(d);
    for (std::uint32_t group = 0; group < 2; ++group) {
        for (std::uint32_t step = 0; step < 4; ++step)
            wgmma_m64nNk16_bf16<64>(d, wgmma_descriptor(smem.a + step * 16, 16, 1024, WgmmaSwizzle::bytes_128),
                                    wgmma_descriptor(smem.b + step * 16, 16, 1024, WgmmaSwizzle::bytes_128), true);
        if (kFault != 8 || group == 0) wgmma_commit_group();
    }
    if (kFault == 3) d[5] += 1.0f;
    if (kFault == 6) {
        syncthreads();
        smem.b[t] = 0;
        syncthreads();
    }
    if (kFault == 7) wgmma_wait_group<0>();
    if (kFault == 4) wgmma_wait_group<1>(d);
    if (kFault != 1 && kFault != 4 && kFault != 7) wgmma_wait_group<0>(d);
    for (std::uint32_t r = 0; r < 32; ++r) params.d[t * 32 + r] = d[r];
    if (kFault == 1 || kFault == 4) wgmma_wait_group<0>(d);
}

struct MbarrierSmem {
    std::uint64_t full, empty;
    std::uint32_t x[32];
};

// Warp 1 fills a slot of 32 words 4 times, warp 0 empties it: output[32 i + t] = input[32 i + t]; block 64.
//   1: the barrier expects one arrival more than comes   2: the reader does not wait   3: the writer does not wait
//   4: one lane alone arrives for a count of 1, before the others have written   5: the parity is not flipped
template <int kFault>
PID_DEVICE void ring(const PidMicroParams& params) {
    PID_SHARED(MbarrierSmem, smem);
    const std::uint32_t t = threadIdx.x, lane = t % 32;
    if (t == 0) {
        mbarrier_init(&smem.full, kFault == 1 ? 33 : kFault == 4 ? 1 : 32);
        mbarrier_init(&smem.empty, 32);
        fence_mbarrier_init_release_cluster();
    }
    syncthreads();
    for (std::uint32_t i = 0; i < 4; ++i) {
        const std::uint32_t parity = kFault == 5 ? 0 : i % 2;
        if (t >= 32) {
            if (kFault != 3) mbarrier_wait_parity(&smem.empty, i % 2 ^ 1);
            if (kFault == 4 && lane == 0) mbarrier_arrive(&smem.full);
            smem.x[lane] = params.input[32 * i + lane];
            if (kFault != 4) mbarrier_arrive(&smem.full);
            // Other work between two turns.
            syncwarp();
        } else {
            if (kFault != 2) mbarrier_wait_parity(&smem.full, parity);
            params.output[32 * i + lane] = smem.x[lane];
            mbarrier_arrive(&smem.empty);
        }
    }
}

}  // namespace

PID_KERNEL(micro_load, PidMicroTmaParams, test_entry(128, 1)) { load<0>(params); }
PID_FAULT(micro_load, fault_1, load<1>)
PID_FAULT(micro_load, fault_2, load<2>)
PID_FAULT(micro_load, fault_3, load<3>)
PID_FAULT(micro_load, fault_4, load<4>)
PID_FAULT(micro_load, fault_5, load<5>)
PID_FAULT(micro_load, fault_6, load<6>)

PID_KERNEL(micro_store, PidMicroTmaParams, test_entry(128, 1)) { store<0>(params); }
PID_FAULT(micro_store, fault_1, store<1>)
PID_FAULT(micro_store, fault_2, store<2>)
PID_FAULT(micro_store, fault_3, store<3>)
PID_FAULT(micro_store, fault_4, store<4>)
PID_FAULT(micro_store, fault_5, store<5>)

PID_KERNEL(micro_wgmma_pair, PidMicroWgmmaParams, test_entry(128, 1)) { wgmma<0>(params); }
PID_FAULT(micro_wgmma_pair, fault_1, wgmma<1>)
PID_FAULT(micro_wgmma_pair, fault_2, wgmma<2>)
PID_FAULT(micro_wgmma_pair, fault_3, wgmma<3>)
PID_FAULT(micro_wgmma_pair, fault_4, wgmma<4>)
PID_FAULT(micro_wgmma_pair, fault_5, wgmma<5>)
PID_FAULT(micro_wgmma_pair, fault_6, wgmma<6>)
PID_FAULT(micro_wgmma_pair, fault_7, wgmma<7>)
PID_FAULT(micro_wgmma_pair, fault_8, wgmma<8>)
PID_FAULT(micro_wgmma_pair, fault_9, wgmma<9>)

PID_KERNEL(micro_ring, PidMicroParams, test_entry(64, 1)) { ring<0>(params); }
PID_FAULT(micro_ring, fault_1, ring<1>)
PID_FAULT(micro_ring, fault_2, ring<2>)
PID_FAULT(micro_ring, fault_3, ring<3>)
PID_FAULT(micro_ring, fault_4, ring<4>)
PID_FAULT(micro_ring, fault_5, ring<5>)
