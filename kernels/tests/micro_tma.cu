// micro_tma: bulk copies of one box. Grid 1, block 128, 32 KB and 1 KB of shared memory (33792 bytes). sm_90.
//   Swizzle 128: 16-byte chunk c of row r of the box lies at byte 128 r + 16 (c ^ r % 8); no swizzle: box rows one after
//   the other. Row r counts over all dimensions but the innermost.
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

namespace {

struct alignas(1024) Smem {
    std::uint32_t box[8192];
    std::uint64_t bar;
};

PID_DEVICE void start(Smem& smem) {
    if (threadIdx.x == 0) {
        mbarrier_init(&smem.bar, 1);
        fence_mbarrier_init_release_cluster();
    }
    syncthreads();
}

// All threads: the load has landed; its bytes to the output.
PID_DEVICE void finish_load(const PidMicroTmaParams& params, Smem& smem) {
    mbarrier_wait_parity(&smem.bar, 0);
    for (std::uint32_t i = threadIdx.x; i < params.box_bytes / 4; i += 128) params.output[i] = smem.box[i];
}

PID_DEVICE void fill_box(const PidMicroTmaParams& params, Smem& smem) {
    for (std::uint32_t i = threadIdx.x; i < params.box_bytes / 4; i += 128) smem.box[i] = params.input[i];
    fence_proxy_async();
    syncthreads();
}

}  // namespace

// output = the box at (c0, c1) as it lies in shared memory, zeros outside of the tensor.
PID_KERNEL(micro_tma_load_2d, PidMicroTmaParams, test_entry(128, 1)) {
    PID_SHARED(Smem, smem);
    start(smem);
    if (threadIdx.x == 0) {
        prefetch_tensormap(&params.map);
        mbarrier_arrive_expect_tx(&smem.bar, params.box_bytes);
        cp_async_bulk_tensor_2d_shared_global(smem.box, &params.map, &smem.bar, params.coordinates[0],
                                              params.coordinates[1]);
    }
    finish_load(params, smem);
}

PID_KERNEL(micro_tma_load_3d, PidMicroTmaParams, test_entry(128, 1)) {
    PID_SHARED(Smem, smem);
    start(smem);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&smem.bar, params.box_bytes);
        cp_async_bulk_tensor_3d_shared_global(smem.box, &params.map, &smem.bar, params.coordinates[0],
                                              params.coordinates[1], params.coordinates[2]);
    }
    finish_load(params, smem);
}

PID_KERNEL(micro_tma_load_4d, PidMicroTmaParams, test_entry(128, 1)) {
    PID_SHARED(Smem, smem);
    start(smem);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&smem.bar, params.box_bytes);
        cp_async_bulk_tensor_4d_shared_global(smem.box, &params.map, &smem.bar, params.coordinates[0],
                                              params.coordinates[1], params.coordinates[2], params.coordinates[3]);
    }
    finish_load(params, smem);
}

// output = input, box_bytes of it; the map is unused.
PID_KERNEL(micro_bulk_load, PidMicroTmaParams, test_entry(128, 1)) {
    PID_SHARED(Smem, smem);
    start(smem);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&smem.bar, params.box_bytes);
        cp_async_bulk_shared_global(smem.box, params.input, params.box_bytes, &smem.bar);
    }
    finish_load(params, smem);
}

// The box at (c0, c1) of the tensor = input as it lies in shared memory; the tensor is unchanged elsewhere.
PID_KERNEL(micro_tma_store_2d, PidMicroTmaParams, test_entry(128, 1)) {
    PID_SHARED(Smem, smem);
    fill_box(params, smem);
    if (threadIdx.x == 0) {
        cp_async_bulk_tensor_2d_global_shared(&params.map, smem.box, params.coordinates[0], params.coordinates[1]);
        cp_async_bulk_commit_group();
        cp_async_bulk_wait_group<0>();
    }
}

PID_KERNEL(micro_tma_store_3d, PidMicroTmaParams, test_entry(128, 1)) {
    PID_SHARED(Smem, smem);
    fill_box(params, smem);
    if (threadIdx.x == 0) {
        cp_async_bulk_tensor_3d_global_shared(&params.map, smem.box, params.coordinates[0], params.coordinates[1],
                                              params.coordinates[2]);
        cp_async_bulk_commit_group();
        cp_async_bulk_wait_group<0>();
    }
}

// The same as micro_tma_store_2d; shared memory is written over once the store has read it.
PID_KERNEL(micro_tma_store_read, PidMicroTmaParams, test_entry(128, 1)) {
    PID_SHARED(Smem, smem);
    fill_box(params, smem);
    if (threadIdx.x == 0) {
        cp_async_bulk_tensor_2d_global_shared(&params.map, smem.box, params.coordinates[0], params.coordinates[1]);
        cp_async_bulk_commit_group();
        cp_async_bulk_wait_group_read<0>();
    }
    syncthreads();
    for (std::uint32_t i = threadIdx.x; i < params.box_bytes / 4; i += 128) smem.box[i] = 0;
}
