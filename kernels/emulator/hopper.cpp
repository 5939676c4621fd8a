#include "hopper.hpp"

#include "kernel_hopper.hpp"

namespace pid::emu {

Hopper& Hopper::of(Block& block) {
    // The only engine there is.
    if (!block.engine()) block.attach(std::make_unique<Hopper>(block));
    return *static_cast<Hopper*>(block.engine());
}

void Hopper::reset() {
    mbarriers.reset();
    proxy.reset();
    tma.reset();
    wgmma.reset();
}

bool Hopper::deliver() { return tma.deliver(); }

bool Hopper::time_out() { return mbarriers.time_out(); }

std::string Hopper::finish() {
    std::string text = tma.finish();
    return text.empty() ? wgmma.finish() : text;
}

std::string Hopper::state() const { return mbarriers.state(); }

void mbarrier_init(std::uint64_t* bar, unsigned count, Site site) { Hopper::current().mbarriers.init(bar, count, site); }
void mbarrier_inval(std::uint64_t* bar, Site site) { Hopper::current().mbarriers.inval(bar, site); }
void mbarrier_arrive(std::uint64_t* bar, unsigned bytes, Site site) {
    Hopper::current().mbarriers.arrive(bar, bytes, site);
}
bool mbarrier_try_wait(std::uint64_t* bar, unsigned parity, Site site) {
    return Hopper::current().mbarriers.try_wait(bar, parity, site);
}
void mbarrier_wait(std::uint64_t* bar, unsigned parity, Site site) {
    Hopper::current().mbarriers.wait(bar, parity, site);
}

void mbarrier_arrive_cluster(std::uint64_t* bar, unsigned cta, Site site) {
    Block& own = *Block::current();
    if (!own.in_shared(bar, 8))
        own.fail(site, "mbarrier_arrive_cluster: %p is not in shared memory", static_cast<const void*>(bar));
    Block& other = own.cluster().peer(cta, "mbarrier_arrive_cluster", site);
    auto* there = reinterpret_cast<std::uint64_t*>(other.shared() + (reinterpret_cast<char*>(bar) - own.shared()));
    // For ThreadSanitizer it releases to whoever waits there all that the thread has done, as an arrival in its own CTA. On a
    // GPU it does so for reads that are complete, which is what a slot's next copy must come after; ordinary stores would
    // need .release.cluster, and a kernel that hands such over without it is not found here.
    Hopper::of(other).mbarriers.arrive(there, 0, site);
}

void cluster_arrive(Site site) { Block::current()->cluster().arrive(site); }
void cluster_wait(Site site) { Block::current()->cluster().wait(site); }

void fence_mbarrier_init() { Hopper::current().mbarriers.fence_init(); }

void tma_load_tensor(void* smem, const PidTensorMap* map, std::uint64_t* bar, const int* coordinates, unsigned rank,
                     Site site) {
    Hopper::current().tma.load_tensor(smem, map, bar, coordinates, rank, site);
}
void tma_load_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar, unsigned mask, const int* coordinates,
                        unsigned rank, Site site) {
    Hopper::current().tma.load_multicast(smem, map, bar, mask, coordinates, rank, site);
}
void tma_load_bytes(void* smem, const void* global, unsigned bytes, std::uint64_t* bar, Site site) {
    Hopper::current().tma.load_bytes(smem, global, bytes, bar, site);
}
void tma_store_tensor(const PidTensorMap* map, const void* smem, const int* coordinates, unsigned rank, Site site) {
    Hopper::current().tma.store_tensor(map, smem, coordinates, rank, site);
}
void tma_commit_stores() { Hopper::current().tma.commit_stores(); }
void tma_wait_stores(unsigned pending, bool reads_only) { Hopper::current().tma.wait_stores(pending, reads_only); }

void wgmma_fence(Site site) { Hopper::current().wgmma.fence(site); }
void wgmma_issue(const WgmmaCall& call, Site site) { Hopper::current().wgmma.issue(call, site); }
void wgmma_commit(Site site) { Hopper::current().wgmma.commit(site); }
void wgmma_wait(unsigned pending, float* const* named, unsigned num_named, Site site) {
    Hopper::current().wgmma.wait(pending, named, num_named, site);
}

void fence_proxy_async() {
    Hopper& hopper = Hopper::current();
    hopper.proxy.fence();
    hopper.mbarriers.fence_init();
}

bool elect_one(unsigned mask, Site site) {
    const bool lowest = Block::current()->options().schedule == Schedule::fifo;
    Block::current()->collective(mask, "elect", site, nullptr, [](void* const*, unsigned) {});
    const int elected = lowest ? __builtin_ctz(mask) : 31 - __builtin_clz(mask);
    return static_cast<int>(Block::thread().lane()) == elected;
}

std::uint64_t matrix_descriptor(const void* smem, unsigned leading, unsigned stride, unsigned swizzle, Site site) {
    Block& block = *Block::current();
    const auto offset = static_cast<const char*>(smem) - block.shared();
    if (!block.in_shared(smem, 16) || offset % 16 != 0)
        block.fail(site, "wgmma_descriptor: shared memory + %td, a multiple of 16 within shared memory is needed", offset);
    if (leading % 16 != 0 || stride % 16 != 0 || leading >= 1u << 18 || stride >= 1u << 18)
        block.fail(site, "wgmma_descriptor: offsets of %u and %u bytes, multiples of 16 below 2^18 are needed", leading,
                   stride);
    return static_cast<std::uint64_t>(offset) >> 4 | static_cast<std::uint64_t>(leading >> 4) << 16 |
           static_cast<std::uint64_t>(stride >> 4) << 32 | static_cast<std::uint64_t>(swizzle) << 62;
}

}  // namespace pid::emu
