// reduce: sums over lanes, the same in every run.
#pragma once
#include "../intrinsics/intrinsics.cuh"

// Sum over each aligned run of kLanes lanes; all 32 take part, every lane of a run gets its sum.
template <int kLanes, class T>
PID_DEVICE T lanes_sum(T x) {
    static_assert(kLanes > 0 && kLanes <= 32 && (kLanes & (kLanes - 1)) == 0, "a power of two, at most a warp");
    PID_UNROLL
    for (int mask = 1; mask < kLanes; mask *= 2) x += shfl_xor_sync(kFullMask, x, mask);
    return x;
}
