// micro_cluster: CTAs that run together: ranks, the cluster's barrier, arrivals at another CTA's mbarrier, multicast loads,
// and a ring that two CTAs fill for each other. sm_90.
// Faults of the ring: 1 the producer does not wait for free stages   2 stages are freed for the own CTA alone
//   3 no cluster barrier behind the initialisation   4 no cluster barrier at the end   5 the mask lacks the other CTA
//   6 the other CTA's bytes are not expected   7 the mask has a CTA outside of the cluster
//   8 an arrival outside of the cluster   9 stages are freed before they are read
//   10 one lane alone arrives at the last cluster barrier   11 the last cluster barrier is arrived at twice
//   12 the consumers do not wait for the data
#include "../common/cluster.cuh"
#include "../params_tests.h"

namespace {

struct alignas(1024) BoxSmem {
    std::uint32_t box[2][4096];
    std::uint64_t bar;
};

template <class Smem>
PID_DEVICE void start(Smem& smem) {
    if (threadIdx.x == 0) {
        mbarrier_init(&smem.bar, 1);
        fence_mbarrier_init_release_cluster();
    }
    cluster_sync();
}

// All 64 threads: both boxes have landed; CTA b writes them to output[b].
PID_DEVICE void finish_both(const PidMicroTmaParams& params, BoxSmem& smem) {
    mbarrier_wait_parity(&smem.bar, 0);
    const std::uint32_t words = params.box_bytes / 4;
    for (std::uint32_t i = threadIdx.x; i < 2 * words; i += 64)
        params.output[blockIdx.x * 2 * words + i] = smem.box[i / words][i % words];
    cluster_sync();
}

constexpr std::uint32_t kNumStages = 2, kNumTiles = 5, kNumConsumerWarps = 2, kBoxWords = 256;

struct alignas(1024) Stage {
    std::uint32_t half[2][kBoxWords];  // by the CTA that loads it
};
struct alignas(1024) RingSmem {
    Stage stage[kNumStages];
    std::uint64_t full[kNumStages], empty[kNumStages];
};

template <int kFault>
PID_DEVICE void produce(const PidMicroTmaParams& params, RingSmem& smem, std::uint32_t rank) {
    const std::uint16_t mask = kFault == 5 ? static_cast<std::uint16_t>(1u << rank) : kFault == 7 ? 7 : 3;
    for (std::uint32_t i = 0; i < kNumTiles; ++i) {
        const std::uint32_t slot = i % kNumStages;
        // Free in both CTAs: their consumers have read what the stage held.
        if (kFault != 1) mbarrier_wait_parity(&smem.empty[slot], i / kNumStages % 2 ^ 1);
        mbarrier_arrive_expect_tx(&smem.full[slot], kFault == 6 ? sizeof(Stage) / 2 : sizeof(Stage));
        cp_async_bulk_tensor_2d_shared_global_multicast(smem.stage[slot].half[rank], &params.map, &smem.full[slot], mask, 0,
                                                        static_cast<int>(2 * i + rank) * 8);
    }
}

// One warp is done with the stage, which both CTAs fill.
template <int kFault>
PID_DEVICE void free_stage(RingSmem& smem, std::uint32_t slot, std::uint32_t rank) {
    syncwarp();
    if (threadIdx.x % 32 != 0) return;
    mbarrier_arrive(&smem.empty[slot]);
    if (kFault != 2) mbarrier_arrive_cluster(&smem.empty[slot], kFault == 8 ? 2 : rank ^ 1);
}

template <int kFault>
PID_DEVICE void consume(const PidMicroTmaParams& params, RingSmem& smem, std::uint32_t rank) {
    const std::uint32_t thread = static_cast<std::uint32_t>(threadIdx.x) - 32;
    for (std::uint32_t i = 0; i < kNumTiles; ++i) {
        const std::uint32_t slot = i % kNumStages;
        if (kFault != 12) mbarrier_wait_parity(&smem.full[slot], i / kNumStages % 2);
        if (kFault == 9) free_stage<kFault>(smem, slot, rank);
        for (std::uint32_t at = thread; at < 2 * kBoxWords; at += 64)
            params.output[(blockIdx.x * kNumTiles + i) * 2 * kBoxWords + at] =
                smem.stage[slot].half[at / kBoxWords][at % kBoxWords];
        if (kFault != 9) free_stage<kFault>(smem, slot, rank);
    }
}

template <int kFault>
PID_DEVICE void ring(const PidMicroTmaParams& params) {
    PID_SHARED(RingSmem, smem);
    const std::uint32_t rank = cluster_ctarank();
    if (threadIdx.x == 0) {
        for (std::uint32_t i = 0; i < kNumStages; ++i) {
            mbarrier_init(&smem.full[i], 1);
            mbarrier_init(&smem.empty[i], kFault == 2 ? kNumConsumerWarps : 2 * kNumConsumerWarps);
        }
        fence_mbarrier_init_release_cluster();
    }
    // The other CTA's barriers are there too.
    if (kFault == 3)
        syncthreads();
    else
        cluster_sync();
    if (threadIdx.x < 32) {
        if (elect_one_sync()) produce<kFault>(params, smem, rank);
    } else {
        consume<kFault>(params, smem, rank);
    }
    // The other CTA has sent all that it sends here.
    if (kFault == 4) return;
    if (kFault == 10 && threadIdx.x % 32 != 0) return;
    if (kFault != 10) syncwarp();
    if (kFault == 11) barrier_cluster_arrive_release();
    barrier_cluster_arrive_release();
    barrier_cluster_wait_acquire();
}

}  // namespace

// output[b] = rank of block b. Clusters of 2, block 32.
PID_CLUSTER_KERNEL(micro_cluster_rank, PidMicroParams, test_entry(32, 1, 2)) {
    if (threadIdx.x != 0) return;
    params.output[blockIdx.x] = cluster_ctarank();
}

// Twice: output[t] = input[t], then, behind the barrier, output[t] from the next CTA of the cluster + 1 into the second
// array, from there back into the first. Clusters of 4, block 64.
PID_CLUSTER_KERNEL(micro_cluster_barrier, PidMicroParams, test_entry(64, 1, 4)) {
    const std::uint32_t n = 64 * gridDim.x, t = blockIdx.x * 64 + threadIdx.x;
    const std::uint32_t next = (blockIdx.x / 4 * 4 + (cluster_ctarank() + 1) % 4) * 64 + threadIdx.x;
    std::uint32_t* const first = params.output;
    std::uint32_t* const second = params.output + n;
    first[t] = params.input[t];
    cluster_sync();
    second[t] = first[next] + 1;
    cluster_sync();
    first[t] = second[next] + 1;
}

// A barrier of 1 arrival in each of two CTAs; CTA 1 arrives at that of CTA 0. output = 0 (CTA 0 before), 1 (after the
// arrival, parity 0), 0 (parity 1), 0 (CTA 1's own, parity 0). Clusters of 2, block 32.
PID_CLUSTER_KERNEL(micro_mbarrier_arrive_cluster, PidMicroParams, test_entry(32, 1, 2)) {
    struct Smem {
        std::uint64_t bar;
    };
    PID_SHARED(Smem, smem);
    const bool first = threadIdx.x == 0;
    start(smem);
    if (first && cluster_ctarank() == 0) params.output[0] = mbarrier_try_wait_parity(&smem.bar, 0) ? 1 : 0;
    cluster_sync();
    if (first && cluster_ctarank() == 1) {
        mbarrier_arrive_cluster(&smem.bar, 0);
        params.output[3] = mbarrier_try_wait_parity(&smem.bar, 0) ? 1 : 0;
    }
    if (first && cluster_ctarank() == 0) {
        mbarrier_wait_parity(&smem.bar, 0);
        params.output[1] = mbarrier_try_wait_parity(&smem.bar, 0) ? 1 : 0;
        params.output[2] = mbarrier_try_wait_parity(&smem.bar, 1) ? 1 : 0;
    }
}

// CTA r sends the box at the coordinates, r further along the last dimension, to both CTAs, which each write both:
// output[b][r] = the box of CTA r. Clusters of 2, grid 2, block 64, 33792 bytes of shared memory.
PID_CLUSTER_KERNEL(micro_tma_multicast_2d, PidMicroTmaParams, test_entry(64, 1, 2)) {
    PID_SHARED(BoxSmem, smem);
    start(smem);
    if (threadIdx.x == 0) {
        const std::uint32_t rank = cluster_ctarank();
        mbarrier_arrive_expect_tx(&smem.bar, 2 * params.box_bytes);
        cp_async_bulk_tensor_2d_shared_global_multicast(smem.box[rank], &params.map, &smem.bar, 3, params.coordinates[0],
                                                        params.coordinates[1] + static_cast<int>(rank));
    }
    finish_both(params, smem);
}

PID_CLUSTER_KERNEL(micro_tma_multicast_3d, PidMicroTmaParams, test_entry(64, 1, 2)) {
    PID_SHARED(BoxSmem, smem);
    start(smem);
    if (threadIdx.x == 0) {
        const std::uint32_t rank = cluster_ctarank();
        mbarrier_arrive_expect_tx(&smem.bar, 2 * params.box_bytes);
        cp_async_bulk_tensor_3d_shared_global_multicast(smem.box[rank], &params.map, &smem.bar, 3, params.coordinates[0],
                                                        params.coordinates[1],
                                                        params.coordinates[2] + static_cast<int>(rank));
    }
    finish_both(params, smem);
}

// CTA 2 of 8 sends the box to CTAs 1, 4 and 7: output[b] = the box, zeros of the others. Clusters of 8, grid 8, block 32,
// 33792 bytes of shared memory.
PID_CLUSTER_KERNEL(micro_tma_multicast_some, PidMicroTmaParams, test_entry(32, 1, 8)) {
    PID_SHARED(BoxSmem, smem);
    constexpr std::uint16_t kMask = 1u << 1 | 1u << 4 | 1u << 7;
    const std::uint32_t rank = cluster_ctarank(), words = params.box_bytes / 4;
    const bool receives = (kMask >> rank & 1) != 0;
    if (!receives)
        for (std::uint32_t i = threadIdx.x; i < words; i += 32) smem.box[0][i] = 0;
    start(smem);
    if (threadIdx.x == 0 && receives) mbarrier_arrive_expect_tx(&smem.bar, params.box_bytes);
    if (threadIdx.x == 0 && rank == 2)
        cp_async_bulk_tensor_2d_shared_global_multicast(smem.box[0], &params.map, &smem.bar, kMask, params.coordinates[0],
                                                        params.coordinates[1]);
    if (receives) mbarrier_wait_parity(&smem.bar, 0);
    cluster_sync();
    for (std::uint32_t i = threadIdx.x; i < words; i += 32) params.output[blockIdx.x * words + i] = smem.box[0][i];
}

// output[b][i][r] = the box at (0, 8 (2 i + r)), 5 tiles i of two boxes of 1024 bytes. Clusters of 2, grid 2, block 96, 5120
// bytes of shared memory.
PID_CLUSTER_KERNEL(micro_cluster_ring, PidMicroTmaParams, test_entry(96, 1, 2)) { ring<0>(params); }
PID_FAULT(micro_cluster_ring, fault_1, ring<1>)
PID_FAULT(micro_cluster_ring, fault_2, ring<2>)
PID_FAULT(micro_cluster_ring, fault_3, ring<3>)
PID_FAULT(micro_cluster_ring, fault_4, ring<4>)
PID_FAULT(micro_cluster_ring, fault_5, ring<5>)
PID_FAULT(micro_cluster_ring, fault_6, ring<6>)
PID_FAULT(micro_cluster_ring, fault_7, ring<7>)
PID_FAULT(micro_cluster_ring, fault_8, ring<8>)
PID_FAULT(micro_cluster_ring, fault_9, ring<9>)
PID_FAULT(micro_cluster_ring, fault_10, ring<10>)
PID_FAULT(micro_cluster_ring, fault_11, ring<11>)
PID_FAULT(micro_cluster_ring, fault_12, ring<12>)
