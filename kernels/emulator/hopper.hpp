// hopper: what sm_90 adds to a block, and what kernels call of it. host.cuh gives these the names of the intrinsics.
#pragma once
#include "async_proxy.hpp"
#include "mbarrier.hpp"
#include "tma.hpp"
#include "wgmma.hpp"

namespace pid::emu {

class Hopper : public AsyncEngine {
public:
    // Of the block that runs on this OS thread.
    static Hopper& current();

    void reset() override;
    bool deliver() override;
    std::string finish() override;
    std::string state() const override;

    Mbarriers mbarriers;
    AsyncProxy proxy;
    Tma tma{mbarriers, proxy};
    Wgmma wgmma{tma, proxy};
};

// fence.proxy.async: this thread's stores to shared memory, and its mbarriers, are visible to TMA and wgmma.
void fence_proxy_async();
// True in one lane of `mask`: the lowest, or under other schedules than FIFO the highest.
bool elect_one(unsigned mask, Site site);
std::uint64_t matrix_descriptor(const void* smem, unsigned leading, unsigned stride, unsigned swizzle, Site site);

}  // namespace pid::emu
