// micro_pipeline: D = A B^T, the parts of sm_90 together: a producer warp, a ring in shared memory, two consumer
// warpgroups of 64 rows each, a bulk store.
//   A [m, k], B [n, k] bf16, D [m, n] float32, by tensor maps; any m, n, k that these take (rows of 16 bytes)
//   sm_90a; tile 128 x 64 x 64, 3 stages; grid (ceil(n / 64), ceil(m / 128)), block 384, shared memory 108544 bytes
// Faults: 1 the producer does not wait for a free stage   2 a stage is freed before its products are complete
//   3 consumers do not wait for the data   4 one warp of each consumer does not free the stage
//   5 the tile is stored without fence.proxy.async   6 the tile is stored before all warps have written it
//   7 the last products are not waited for
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

namespace {

constexpr int BLOCK_M = 128, BLOCK_N = 64, BLOCK_K = 64;
constexpr std::uint32_t kNumStages = 3;
constexpr std::uint32_t kNumConsumerWarps = 8;

struct alignas(1024) Stage {
    std::uint16_t a[BLOCK_M * BLOCK_K];
    std::uint16_t b[BLOCK_N * BLOCK_K];
};
struct alignas(1024) Smem {
    Stage stage[kNumStages];
    float tile[2][2][64 * 32];  // by warpgroup and half of the columns
    std::uint64_t full[kNumStages], empty[kNumStages];
};
static_assert(sizeof(Smem) <= 108544, "the launch gives that much");

template <int kFault>
PID_DEVICE void produce(const PidMicroPipelineParams& params, Smem& smem) {
    const int row = static_cast<int>(blockIdx.y) * BLOCK_M, col = static_cast<int>(blockIdx.x) * BLOCK_N;
    for (std::uint32_t i = 0; i < params.num_k_tiles; ++i) {
        const std::uint32_t slot = i % kNumStages, turn = i / kNumStages % 2;
        Stage& stage = smem.stage[slot];
        // Free: all consumers have read what the stage held.
        if (kFault != 1) mbarrier_wait_parity(&smem.empty[slot], turn ^ 1);
        mbarrier_arrive_expect_tx(&smem.full[slot], sizeof(Stage));
        const int k = static_cast<int>(i) * BLOCK_K;
        cp_async_bulk_tensor_2d_shared_global(stage.a, &params.a, &smem.full[slot], k, row);
        cp_async_bulk_tensor_2d_shared_global(stage.a + 64 * BLOCK_K, &params.a, &smem.full[slot], k, row + 64);
        cp_async_bulk_tensor_2d_shared_global(stage.b, &params.b, &smem.full[slot], k, col);
    }
}

// One warp of the eight is done with the stage.
template <int kFault>
PID_DEVICE void free_stage(Smem& smem, std::uint32_t slot, std::uint32_t thread) {
    if (kFault == 4 && thread / 32 % 4 == 3) return;
    if (thread % 32 == 0) mbarrier_arrive(&smem.empty[slot]);
}

template <int kFault>
PID_DEVICE void accumulate(const PidMicroPipelineParams& params, Smem& smem, float (&d)[32], std::uint32_t group,
                           std::uint32_t thread) {
    for (std::uint32_t i = 0; i < params.num_k_tiles; ++i) {
        const std::uint32_t slot = i % kNumStages;
        const Stage& stage = smem.stage[slot];
        if (kFault != 3) mbarrier_wait_parity(&smem.full[slot], i / kNumStages % 2);
        wgmma_fence(d);
        PID_UNROLL
        for (int step = 0; step < BLOCK_K / 16; ++step)
            wgmma_m64nNk16_bf16<BLOCK_N>(
                d, wgmma_descriptor(stage.a + group * 64 * BLOCK_K + step * 16, 16, 1024, WgmmaSwizzle::bytes_128),
                wgmma_descriptor(stage.b + step * 16, 16, 1024, WgmmaSwizzle::bytes_128), i > 0 || step > 0);
        wgmma_commit_group();
        if (kFault == 2) {
            free_stage<kFault>(smem, slot, thread);
            wgmma_wait_group<1>(d);
            continue;
        }
        // The products of the stage before are complete; these go on.
        wgmma_wait_group<1>(d);
        if (i > 0) free_stage<kFault>(smem, (i - 1) % kNumStages, thread);
    }
    if (kFault != 7) wgmma_wait_group<0>(d);
}

template <int kFault>
PID_DEVICE void store(const PidMicroPipelineParams& params, Smem& smem, float (&d)[32], std::uint32_t group,
                      std::uint32_t thread) {
    const std::uint32_t row = thread / 32 * 16 + thread % 32 / 4;
    PID_UNROLL
    for (std::uint32_t r = 0; r < 32; ++r) {
        const std::uint32_t col = r / 4 * 8 + thread % 4 * 2 + r % 2;
        smem.tile[group][col / 32][(row + r / 2 % 2 * 8) * 32 + col % 32] = d[r];
    }
    if (kFault != 5) fence_proxy_async();
    if (kFault != 6) {
        if (group == 0)
            bar_sync<1, 128>();
        else
            bar_sync<2, 128>();
    }
    if (thread != 0) return;
    PID_UNROLL
    for (int half = 0; half < 2; ++half)
        cp_async_bulk_tensor_2d_global_shared(&params.d, smem.tile[group][half],
                                              static_cast<int>(blockIdx.x) * BLOCK_N + half * 32,
                                              static_cast<int>(blockIdx.y) * BLOCK_M + static_cast<int>(group) * 64);
    cp_async_bulk_commit_group();
    // Shared memory stays until it has been read.
    cp_async_bulk_wait_group_read<0>();
}

template <int kFault>
PID_DEVICE void pipeline(const PidMicroPipelineParams& params) {
    PID_SHARED(Smem, smem);
    const std::uint32_t warp = static_cast<std::uint32_t>(threadIdx.x) / 32;
    if (threadIdx.x == 0) {
        for (std::uint32_t i = 0; i < kNumStages; ++i) {
            mbarrier_init(&smem.full[i], 1);
            mbarrier_init(&smem.empty[i], kNumConsumerWarps);
        }
        fence_mbarrier_init_release_cluster();
    }
    syncthreads();
    if (warp < 4) {
        setmaxnreg_dec<40>();
        if (warp == 0 && elect_one_sync()) produce<kFault>(params, smem);
    } else {
        setmaxnreg_inc<232>();
        const std::uint32_t group = warp / 4 - 1, thread = static_cast<std::uint32_t>(threadIdx.x) % 128;
        float d[32];
        accumulate<kFault>(params, smem, d, group, thread);
        store<kFault>(params, smem, d, group, thread);
    }
}

}  // namespace

PID_KERNEL(micro_pipeline, PidMicroPipelineParams, test_entry(384, 1)) { pipeline<0>(params); }
PID_FAULT(micro_pipeline, fault_1, pipeline<1>)
PID_FAULT(micro_pipeline, fault_2, pipeline<2>)
PID_FAULT(micro_pipeline, fault_3, pipeline<3>)
PID_FAULT(micro_pipeline, fault_4, pipeline<4>)
PID_FAULT(micro_pipeline, fault_5, pipeline<5>)
PID_FAULT(micro_pipeline, fault_6, pipeline<6>)
PID_FAULT(micro_pipeline, fault_7, pipeline<7>)
