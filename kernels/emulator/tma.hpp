// tma: bulk copies between global and shared memory. A load poisons its destination at once and lands when every thread
//   of the block is stuck; a store reads shared memory no earlier than its wait, and what it reads must be what was there
//   when it was issued: a GPU may read at any time in between.
#pragma once
#include <deque>
#include <vector>

#include "async_proxy.hpp"
#include "cluster.hpp"
#include "mbarrier.hpp"
#include "tensor_map.hpp"

namespace pid::emu {

class Tma {
public:
    // Of the shared memory of `block`; threads of other blocks of the cluster come in by load_multicast().
    Tma(Block& block, Mbarriers& mbarriers, AsyncProxy& proxy) : block_(block), mbarriers_(mbarriers), proxy_(proxy) {}
    void reset();

    void load_tensor(void* smem, const PidTensorMap* map, std::uint64_t* bar, const int* coordinates, unsigned rank,
                     Site site);
    // Each block of `mask` (by rank) has a load of its own, in its own Tma: they land one by one.
    void load_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar, unsigned mask, const int* coordinates,
                        unsigned rank, Site site);
    void load_bytes(void* smem, const void* global, unsigned bytes, std::uint64_t* bar, Site site);
    void store_tensor(const PidTensorMap* map, const void* smem, const int* coordinates, unsigned rank, Site site);
    void commit_stores();
    // At most `pending` of the thread's newest groups are unfinished after; `reads_only`: those have not read their source.
    void wait_stores(unsigned pending, bool reads_only);

    // Lands one load; false when there is none.
    bool deliver();
    // True when a load into some of these bytes is in flight.
    bool in_flight(const void* p, std::size_t bytes) const;
    std::string finish();

private:
    struct Load {
        char* smem = nullptr;
        unsigned bytes = 0;
        std::uint64_t* bar = nullptr;
        const char* global = nullptr;  // null: by the map
        TensorMap map{};
        int coordinates[kMaxTensorRank] = {};
        Site site{"", 0};
        const Block* issuer = nullptr;
    };
    struct Store {
        const char* smem = nullptr;
        TensorMap map{};
        int coordinates[kMaxTensorRank] = {};
        std::vector<char> bytes;  // of the box, when issued
        bool has_read = false;
        Site site{"", 0};
    };
    struct ThreadStores {
        std::vector<Store> uncommitted;
        std::deque<std::vector<Store>> groups;  // oldest first
    };

    TensorMap check_map(const PidTensorMap* map, unsigned rank, const char* operation, Site site);
    void check_innermost(const TensorMap& map, const int* coordinates, const char* operation, Site site);
    void check_smem(const void* smem, unsigned bytes, unsigned alignment, const char* operation, Site site);
    Load tensor_load(const PidTensorMap* map, const int* coordinates, unsigned rank, const char* operation, Site site);
    void issue(Load load);
    static std::vector<char> source(const Store& store);
    void read_source(Store& store);
    void write_target(const Store& store);

    Block& block_;
    Mbarriers& mbarriers_;
    AsyncProxy& proxy_;
    std::vector<Load> loads_;
    std::vector<ThreadStores> stores_;  // by thread
    std::uint64_t random_ = 0;
};

}  // namespace pid::emu
