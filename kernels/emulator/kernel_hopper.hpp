// kernel_hopper: kernel.hpp for what sm_90 adds. hopper_host.cuh gives these the names of the intrinsics.
#pragma once
#include "../tensor_map.h"
#include "kernel.hpp"

namespace pid::emu {

void mbarrier_init(std::uint64_t* bar, unsigned count, Site site);
void mbarrier_inval(std::uint64_t* bar, Site site);
void mbarrier_arrive(std::uint64_t* bar, unsigned bytes, Site site);
bool mbarrier_try_wait(std::uint64_t* bar, unsigned parity, Site site);
void mbarrier_wait(std::uint64_t* bar, unsigned parity, Site site);
// At the barrier at the same offset in CTA `cta` of the cluster.
void mbarrier_arrive_cluster(std::uint64_t* bar, unsigned cta, Site site);
// barrier.cluster.arrive and .wait, by whole warps.
void cluster_arrive(Site site);
void cluster_wait(Site site);
void fence_mbarrier_init();
// fence.proxy.async: this thread's stores to shared memory, and its mbarriers, are visible to TMA and wgmma.
void fence_proxy_async();

void tma_load_tensor(void* smem, const PidTensorMap* map, std::uint64_t* bar, const int* coordinates, unsigned rank,
                     Site site);
void tma_load_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar, unsigned mask, const int* coordinates,
                        unsigned rank, Site site);
void tma_load_bytes(void* smem, const void* global, unsigned bytes, std::uint64_t* bar, Site site);
void tma_store_tensor(const PidTensorMap* map, const void* smem, const int* coordinates, unsigned rank, Site site);
void tma_commit_stores();
void tma_wait_stores(unsigned pending, bool reads_only);

// True in one lane of `mask`: the lowest, or under other schedules than FIFO the highest.
bool elect_one(unsigned mask, Site site);

std::uint64_t matrix_descriptor(const void* smem, unsigned leading, unsigned stride, unsigned swizzle, Site site);
// One m64nNk16 product, as one thread calls it.
struct WgmmaCall {
    unsigned n;
    bool b_mn_major;
    bool scale_d;            // false: d = a b; true: d += a b
    float* d;                // n / 2
    const std::uint32_t* a;  // 4 registers; null: a_descriptor
    std::uint64_t a_descriptor;
    std::uint64_t b_descriptor;
};
void wgmma_fence(Site site);
void wgmma_issue(const WgmmaCall& call, Site site);
void wgmma_commit(Site site);
void wgmma_wait(unsigned pending, float* const* named, unsigned num_named, Site site);

}  // namespace pid::emu
