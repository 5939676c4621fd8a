// hopper: what sm_90 adds to a block.
#pragma once
#include "async_proxy.hpp"
#include "mbarrier.hpp"
#include "tma.hpp"
#include "wgmma.hpp"

namespace pid::emu {

class Hopper : public AsyncEngine {
public:
    explicit Hopper(Block& block) : mbarriers(block), proxy(block), tma(block, mbarriers, proxy) {}
    static Hopper& of(Block& block);
    // Of the block that runs on this OS thread.
    static Hopper& current() { return of(*Block::current()); }

    void reset() override;
    bool deliver() override;
    bool time_out() override;
    std::string finish() override;
    std::string state() const override;

    Mbarriers mbarriers;
    AsyncProxy proxy;
    Tma tma;
    Wgmma wgmma{tma, proxy};
};

}  // namespace pid::emu
