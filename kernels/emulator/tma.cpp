#include "tma.hpp"

#include <cstring>

#include "hopper.hpp"
#include "sanitizer.hpp"

namespace pid::emu {

namespace {
std::string at(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }

// Touched when a copy is issued, so that memory which is not there faults in the kernel's own call.
void probe(const char* first, std::size_t bytes) {
    (void)*static_cast<const volatile char*>(first);
    (void)*static_cast<const volatile char*>(first + bytes - 1);
}
}  // namespace

void Tma::reset() {
    for (const Load& load : loads_) sanitizer::unpoison(load.smem, load.bytes);
    loads_.clear();
    for (ThreadStores& stores : stores_) {
        stores.uncommitted.clear();
        stores.groups.clear();
    }
    random_ = 0;
}

TensorMap Tma::check_map(const PidTensorMap* map, unsigned rank, const char* operation, Site site) {
    const TensorMap decoded = TensorMap::decode(*map);
    if (!decoded.valid()) block_.fail(site, "%s: %p is no tensor map", operation, static_cast<const void*>(map));
    if (decoded.rank != rank)
        block_.fail(site, "%s: %u coordinates for a tensor map of rank %u", operation, rank, decoded.rank);
    return decoded;
}

void Tma::check_innermost(const TensorMap& map, const int* coordinates, const char* operation, Site site) {
    // A GPU answers CUDA_ERROR_ILLEGAL_INSTRUCTION (seen on an H200); the manual does not say it.
    const long bytes = static_cast<long>(coordinates[0]) * static_cast<long>(map.element_bytes);
    if (bytes % 16 != 0)
        block_.fail(site, "%s: innermost coordinate %d is %ld bytes, no multiple of 16", operation, coordinates[0], bytes);
}

void Tma::check_smem(const void* smem, unsigned bytes, unsigned alignment, const char* operation, Site site) {
    const auto offset = static_cast<const char*>(smem) - block_.shared();
    if (!block_.in_shared(smem, bytes))
        block_.fail(site, "%s: %u bytes at %p are not in shared memory", operation, bytes, smem);
    if (offset % alignment != 0)
        block_.fail(site, "%s: shared memory + %td is not a multiple of %u", operation, offset, alignment);
    if (in_flight(smem, bytes))
        block_.fail(site, "%s: another load to shared memory + %td is in flight", operation, offset);
}

void Tma::issue(Load load) {
    load.issuer = Block::current();
    std::memset(load.smem, kPoison, load.bytes);
    proxy_.writes(load.smem, load.bytes);
    proxy_.wrote(load.smem, load.bytes);
    sanitizer::poison(load.smem, load.bytes);
    loads_.push_back(load);
}

// All but where it goes.
Tma::Load Tma::tensor_load(const PidTensorMap* map, const int* coordinates, unsigned rank, const char* operation,
                           Site site) {
    Load load;
    load.map = check_map(map, rank, operation, site);
    load.bytes = load.map.box_bytes();
    load.site = site;
    check_innermost(load.map, coordinates, operation, site);
    for (unsigned i = 0; i < rank; ++i) load.coordinates[i] = coordinates[i];
    for (unsigned row = 0; row < load.map.rows(); ++row) {
        const BoxRow source = box_row(load.map, coordinates, row);
        if (source.global) probe(source.global, source.end - source.begin);
    }
    return load;
}

void Tma::load_tensor(void* smem, const PidTensorMap* map, std::uint64_t* bar, const int* coordinates, unsigned rank,
                      Site site) {
    constexpr const char* kName = "cp.async.bulk.tensor";
    Load load = tensor_load(map, coordinates, rank, kName, site);
    load.smem = static_cast<char*>(smem);
    load.bar = bar;
    check_smem(smem, load.bytes, load.map.swizzled ? 1024 : 128, kName, site);
    mbarriers_.check_async(bar, kName, site);
    issue(load);
}

void Tma::load_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar, unsigned mask, const int* coordinates,
                         unsigned rank, Site site) {
    constexpr const char* kName = "cp.async.bulk.tensor.multicast";
    const Load load = tensor_load(map, coordinates, rank, kName, site);
    const auto smem_offset = static_cast<char*>(smem) - block_.shared();
    const auto bar_offset = reinterpret_cast<char*>(bar) - block_.shared();
    if (mask == 0) block_.fail(site, "%s: a mask without CTAs", kName);
    if (!block_.in_shared(bar, 8))
        block_.fail(site, "%s: %p is not in shared memory", kName, static_cast<const void*>(bar));
    for (unsigned left = mask; left != 0; left &= left - 1) {
        Block& target = block_.cluster().peer(static_cast<unsigned>(__builtin_ctz(left)), kName, site);
        Tma& tma = Hopper::of(target).tma;
        Load part = load;
        part.smem = target.shared() + smem_offset;
        part.bar = reinterpret_cast<std::uint64_t*>(target.shared() + bar_offset);
        tma.check_smem(part.smem, part.bytes, part.map.swizzled ? 1024 : 128, kName, site);
        tma.mbarriers_.check_async(part.bar, kName, site);
        tma.issue(part);
    }
}

void Tma::load_bytes(void* smem, const void* global, unsigned bytes, std::uint64_t* bar, Site site) {
    constexpr const char* kName = "cp.async.bulk";
    if (bytes == 0 || bytes % 16 != 0) block_.fail(site, "%s: %u bytes, not a multiple of 16", kName, bytes);
    if (reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
        block_.fail(site, "%s: global address %p is not a multiple of 16", kName, global);
    check_smem(smem, bytes, 16, kName, site);
    mbarriers_.check_async(bar, kName, site);
    Load load;
    load.smem = static_cast<char*>(smem);
    load.bytes = bytes;
    load.bar = bar;
    load.global = static_cast<const char*>(global);
    load.site = site;
    probe(load.global, bytes);
    issue(load);
}

bool Tma::deliver() {
    if (loads_.empty()) return false;
    // Loads may land in any order: the oldest first, the newest first, or by chance, as the schedule of the threads.
    std::size_t chosen = 0;
    if (block_.options().schedule == Schedule::lifo) chosen = loads_.size() - 1;
    if (block_.options().schedule == Schedule::pct) {
        random_ = random_ * 6364136223846793005ull + block_.options().seed * 2 + 1;
        chosen = (random_ >> 33) % loads_.size();
    }
    const Load load = loads_[chosen];
    loads_.erase(loads_.begin() + static_cast<std::ptrdiff_t>(chosen));
    sanitizer::unpoison(load.smem, load.bytes);
    if (load.global) {
        std::memcpy(load.smem, load.global, load.bytes);
    } else {
        std::vector<char> line(load.map.inner_bytes());
        for (unsigned row = 0; row < load.map.rows(); ++row) {
            std::memset(line.data(), 0, line.size());
            const BoxRow source = box_row(load.map, load.coordinates, row);
            if (source.global) std::memcpy(line.data() + source.begin, source.global, source.end - source.begin);
            for (unsigned chunk = 0; chunk < line.size() / 16; ++chunk)
                std::memcpy(load.smem + box_chunk(load.map, row, chunk), line.data() + chunk * 16, 16);
        }
    }
    proxy_.wrote(load.smem, load.bytes);
    proxy_.as_writer([&] { mbarriers_.complete_bytes(load.bar, load.bytes, load.site); });
    return true;
}

bool Tma::in_flight(const void* p, std::size_t bytes) const {
    const char* begin = static_cast<const char*>(p);
    for (const Load& load : loads_)
        if (begin < load.smem + load.bytes && load.smem < begin + bytes) return true;
    return false;
}

void Tma::store_tensor(const PidTensorMap* map, const void* smem, const int* coordinates, unsigned rank, Site site) {
    constexpr const char* kName = "cp.async.bulk.tensor (store)";
    Store store;
    store.map = check_map(map, rank, kName, site);
    check_innermost(store.map, coordinates, kName, site);
    // On an H200 a store of 64 x 64 at (-8, 45) is an illegal instruction, the load is not; no kernel needs one.
    for (unsigned i = 0; i < rank; ++i)
        if (coordinates[i] < 0) block_.fail(site, "%s: coordinate %u is %d, below zero", kName, i, coordinates[i]);
    store.smem = static_cast<const char*>(smem);
    store.site = site;
    check_smem(smem, store.map.box_bytes(), store.map.swizzled ? 1024 : 128, kName, site);
    for (unsigned i = 0; i < rank; ++i) store.coordinates[i] = coordinates[i];
    for (unsigned row = 0; row < store.map.rows(); ++row) {
        const BoxRow target = box_row(store.map, coordinates, row);
        if (!target.global) continue;
        probe(target.global, target.end - target.begin);
        for (unsigned chunk = target.begin / 16; chunk < (target.end + 15) / 16; ++chunk) {
            const char* from = store.smem + box_chunk(store.map, row, chunk);
            const unsigned begin = target.begin > chunk * 16 ? target.begin - chunk * 16 : 0;
            const unsigned end = target.end < chunk * 16 + 16 ? target.end - chunk * 16 : 16;
            if (proxy_.stale(from + begin, end - begin))
                block_.fail(site, "%s: shared memory + %td was written without a fence.proxy.async since", kName,
                             from - block_.shared());
            proxy_.reads(from + begin, end - begin);
        }
    }
    store.bytes = source(store);
    if (stores_.size() <= Block::thread().linear) stores_.resize(Block::thread().linear + 1);
    stores_[Block::thread().linear].uncommitted.push_back(std::move(store));
}

void Tma::commit_stores() {
    if (stores_.size() <= Block::thread().linear) stores_.resize(Block::thread().linear + 1);
    ThreadStores& stores = stores_[Block::thread().linear];
    stores.groups.push_back(std::move(stores.uncommitted));
    stores.uncommitted.clear();
}

std::vector<char> Tma::source(const Store& store) {
    std::vector<char> bytes(store.map.box_bytes());
    const unsigned inner = store.map.inner_bytes();
    for (unsigned row = 0; row < store.map.rows(); ++row)
        for (unsigned chunk = 0; chunk < inner / 16; ++chunk)
            std::memcpy(bytes.data() + row * inner + chunk * 16, store.smem + box_chunk(store.map, row, chunk), 16);
    return bytes;
}

void Tma::read_source(Store& store) {
    if (store.has_read) return;
    store.has_read = true;
    if (source(store) != store.bytes)
        block_.fail(store.site, "cp.async.bulk.tensor (store): shared memory + %td was written before it had been read",
                    store.smem - block_.shared());
}

void Tma::write_target(const Store& store) {
    const unsigned inner = store.map.inner_bytes();
    for (unsigned row = 0; row < store.map.rows(); ++row) {
        const BoxRow target = box_row(store.map, store.coordinates, row);
        if (!target.global) continue;
        std::memcpy(target.global, store.bytes.data() + row * inner + target.begin, target.end - target.begin);
    }
}

void Tma::wait_stores(unsigned pending, bool reads_only) {
    if (stores_.size() <= Block::thread().linear) return;
    auto& groups = stores_[Block::thread().linear].groups;
    if (groups.size() <= pending) return;
    const std::size_t finished = groups.size() - pending;
    for (std::size_t i = 0; i < finished; ++i)
        for (Store& store : groups[i]) {
            read_source(store);
            if (!reads_only) write_target(store);
        }
    proxy_.reads_done();
    if (!reads_only) groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(finished));
}

std::string Tma::finish() {
    if (!loads_.empty()) return at(loads_.front().site) + ": the block ended before this load had landed";
    for (unsigned rank = 0; rank < block_.cluster().size(); ++rank) {
        Block& peer = block_.cluster().block(rank);
        if (&peer == &block_ || !peer.engine()) continue;
        for (const Load& load : Hopper::of(peer).tma.loads_)
            if (load.issuer == &block_)
                return at(load.site) + ": the block ended before this load had landed in CTA " + std::to_string(rank);
    }
    for (ThreadStores& stores : stores_) {
        if (!stores.uncommitted.empty())
            return at(stores.uncommitted.front().site) + ": the block ended before this store was committed";
        for (auto& group : stores.groups)
            for (Store& store : group) {
                if (!store.has_read)
                    return at(store.site) + ": the block ended before this store had read shared memory";
                write_target(store);
            }
        stores.groups.clear();
    }
    return {};
}

}  // namespace pid::emu
