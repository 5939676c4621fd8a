// wgmma: m64nNk16, bf16 in, f32 out, one warp's 16 rows at a time. The product is taken at the wait, from what shared
//   memory and the A registers hold then; until that the accumulators are NaN.
#pragma once
#include <deque>
#include <map>
#include <vector>

#include "async_proxy.hpp"
#include "block.hpp"
#include "kernel_hopper.hpp"
#include "tma.hpp"

namespace pid::emu {

class Wgmma {
public:
    using Call = WgmmaCall;

    Wgmma(Tma& tma, AsyncProxy& proxy) : tma_(tma), proxy_(proxy) {}
    void reset();
    // All four are called by every lane of a warp.
    void fence(Site site);
    void issue(Call call, Site site);
    void commit(Site site);
    // `named`: the accumulators that may be read afterwards.
    void wait(unsigned pending, float* const* named, unsigned num_named, Site site);
    std::string finish();

private:
    // 16 x n values of a warp, while at least one product into them is in flight.
    struct Accumulator {
        float* d[kWarpSize] = {};
        unsigned n = 0;
        unsigned in_flight = 0;
        std::vector<float> values;
        Site site{"", 0};
    };
    struct Product {
        Call call;
        const std::uint32_t* a[kWarpSize] = {};
        Site site{"", 0};
    };
    struct Warp {
        bool fenced = false;        // since the accumulators could be touched
        bool a_fenced = false;      // since the A registers could be written
        unsigned num_products = 0;
        std::vector<Product> uncommitted;
        std::deque<std::vector<Product>> groups;  // oldest first
        std::map<float*, Accumulator> accumulators;  // by lane 0's
    };

    Warp& warp();
    void meet(const char* operation, Site site, void* argument, Block::Compute compute);
    void issue_warp(void* const* calls, Site site);
    void open(Warp& warp, const Product& product, void* const* calls);
    void check_operand(const Call& call, bool is_b, Site site);
    void compute(Warp& warp, const Product& product);
    void close(Accumulator& accumulator);

    Tma& tma_;
    AsyncProxy& proxy_;
    std::vector<Warp> warps_;
};

}  // namespace pid::emu
