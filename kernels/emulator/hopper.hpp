// hopper: what sm_90 adds to a block.
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

}  // namespace pid::emu
