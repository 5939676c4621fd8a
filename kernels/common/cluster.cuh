// cluster: blocks that run together. sm_90.
#pragma once
#include "../intrinsics/intrinsics.cuh"

// All threads of all blocks of the cluster.
PID_DEVICE void cluster_sync() {
    // Lanes that waited or branched apart are one warp again.
    syncwarp();
    barrier_cluster_arrive_release();
    barrier_cluster_wait_acquire();
}
