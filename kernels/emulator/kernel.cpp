#include "kernel.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "block.hpp"
#include "registry.hpp"
#include "sanitizer.hpp"

namespace pid::emu {

namespace {
const Registration* g_first = nullptr;

Block& block() { return *Block::current(); }

// The running thread reads or writes shared memory through the core: what a kernel's own access would be checked for.
void check_shared(const void* p, std::size_t bytes, std::size_t alignment, const char* operation, Site site) {
    if (reinterpret_cast<std::uintptr_t>(p) % alignment != 0)
        block().fail(site, "%s: address %p is not a multiple of %zu", operation, p, alignment);
    if (!block().in_shared(p, bytes))
        block().fail(site, "%s: %zu bytes at %p are not in shared memory", operation, bytes, p);
    if (sanitizer::poisoned(p, bytes))
        block().fail(site, "%s: an asynchronous copy to %p is still in flight", operation, p);
}

void land(const AsyncCopy& copy, void* caller) {
    sanitizer::unpoison(copy.destination, copy.bytes);
    std::memcpy(copy.destination, copy.source, copy.source_bytes);
    std::memset(static_cast<char*>(copy.destination) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
    sanitizer::written(copy.destination, copy.bytes, caller);
}
}  // namespace

Registration::Registration(const char* kernel, const char* sound, std::size_t bytes, const KernelEntry& declared,
                           KernelBody function)
    : name(kernel), fault_of(sound), params_bytes(bytes), entry(declared), body(function), next(g_first) {
    g_first = this;
}

const Registration* first_kernel() { return g_first; }

const Registration* find_kernel(const char* name) {
    for (const Registration* r = g_first; r; r = r->next)
        if (std::strcmp(r->name, name) == 0) return r;
    return nullptr;
}

void* shared_memory(std::size_t bytes, Site site) {
    if (bytes > block().options().shared_bytes)
        block().fail(site, "the kernel needs %zu bytes of shared memory, the launch gives %zu", bytes,
                     block().options().shared_bytes);
    return block().shared();
}

void sync_threads(Site site) {
    const unsigned threads = block().options().block.count();
    block().barrier(0, (threads + kWarpSize - 1) / kWarpSize * kWarpSize, site);
}

void sync_warp(unsigned mask, Site site) {
    char* token = block().shared() + kMaxSharedBytes + Block::thread().warp();
    sanitizer::release(token);
    block().collective(mask, "syncwarp", site, nullptr, [](void* const*, unsigned) {});
    sanitizer::acquire(token);
}

void barrier_sync(unsigned id, unsigned count, Site site) { block().barrier(id, count, site); }
void barrier_arrive(unsigned id, unsigned count, Site site) { block().barrier_arrive(id, count, site); }

std::uint32_t shuffle(unsigned mask, std::uint32_t value, unsigned source, Site site) {
    struct Argument {
        std::uint32_t value;
        unsigned source;
        std::uint32_t result;
    } argument{value, source % kWarpSize, 0};
    if (!(mask >> argument.source & 1))
        block().fail(site, "shfl: lane %u reads lane %u, which is not in mask %08x", Block::thread().lane(),
                     argument.source, mask);
    block().collective(mask, "shfl", site, &argument, [](void* const* arguments, unsigned all) {
        for (unsigned left = all; left != 0; left &= left - 1) {
            auto* to = static_cast<Argument*>(arguments[__builtin_ctz(left)]);
            to->result = static_cast<const Argument*>(arguments[to->source])->value;
        }
    });
    return argument.result;
}

unsigned ballot(unsigned mask, bool predicate, Site site) {
    unsigned argument = predicate ? 1 : 0;
    block().collective(mask, "ballot", site, &argument, [](void* const* arguments, unsigned all) {
        unsigned bits = 0;
        for (unsigned left = all; left != 0; left &= left - 1) {
            const auto i = static_cast<unsigned>(__builtin_ctz(left));
            bits |= *static_cast<const unsigned*>(arguments[i]) << i;
        }
        for (unsigned left = all; left != 0; left &= left - 1) *static_cast<unsigned*>(arguments[__builtin_ctz(left)]) = bits;
    });
    return argument;
}

void cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes, Site site) {
    check_shared(shared, bytes, bytes, "cp.async", site);
    if (source_bytes > bytes) block().fail(site, "cp.async: source of %u bytes for a copy of %u", source_bytes, bytes);
    if (reinterpret_cast<std::uintptr_t>(global) % bytes != 0)
        block().fail(site, "cp.async: global address %p is not a multiple of %u", global, bytes);
    // Read now, so that a fault names this line; the value read then is the one at the wait.
    if (source_bytes != 0) {
        sanitizer::read(global, source_bytes, __builtin_return_address(0));
        (void)*static_cast<const volatile char*>(global);
        (void)*(static_cast<const volatile char*>(global) + source_bytes - 1);
    }
    std::memset(shared, kPoison, bytes);
    sanitizer::written(shared, bytes, __builtin_return_address(0));
    sanitizer::poison(shared, bytes);
    Block::thread().uncommitted.push_back({shared, global, bytes, source_bytes, site});
}

void cp_async_commit() {
    Thread& t = Block::thread();
    t.groups.push_back(std::move(t.uncommitted));
    t.uncommitted.clear();
}

void cp_async_wait(unsigned pending) {
    auto& groups = Block::thread().groups;
    if (groups.size() <= pending) return;
    const auto landed = groups.begin() + static_cast<std::ptrdiff_t>(groups.size() - pending);
    for (auto group = groups.begin(); group != landed; ++group)
        for (const AsyncCopy& copy : *group) land(copy, __builtin_return_address(0));
    groups.erase(groups.begin(), landed);
}

void ldmatrix_x4(std::uint32_t* r, const void* row, bool transposed, Site site) {
    check_shared(row, 16, 16, "ldmatrix", site);
    sanitizer::read(row, 16, __builtin_return_address(0));
    struct Argument {
        std::uint32_t* r;
        const std::uint16_t* row;
    } argument{r, static_cast<const std::uint16_t*>(row)};
    const auto plain = [](void* const* arguments, unsigned) {
        for (unsigned i = 0; i < kWarpSize; ++i)
            for (unsigned m = 0; m < 4; ++m) {
                const auto* source = static_cast<const Argument*>(arguments[m * 8 + i / 4])->row + i % 4 * 2;
                std::memcpy(&static_cast<Argument*>(arguments[i])->r[m], source, 4);
            }
    };
    const auto across = [](void* const* arguments, unsigned) {
        for (unsigned i = 0; i < kWarpSize; ++i)
            for (unsigned m = 0; m < 4; ++m) {
                const unsigned low = static_cast<const Argument*>(arguments[m * 8 + i % 4 * 2])->row[i / 4];
                const unsigned high = static_cast<const Argument*>(arguments[m * 8 + i % 4 * 2 + 1])->row[i / 4];
                static_cast<Argument*>(arguments[i])->r[m] = low | high << 16;
            }
    };
    if (transposed)
        block().collective(kFullMask, "ldmatrix.trans", site, &argument, across);
    else
        block().collective(kFullMask, "ldmatrix", site, &argument, plain);
}

void stmatrix_x4(const std::uint32_t* r, void* row, Site site) {
    check_shared(row, 16, 16, "stmatrix", site);
    sanitizer::written(row, 16, __builtin_return_address(0));
    struct Argument {
        const std::uint32_t* r;
        std::uint16_t* row;
    } argument{r, static_cast<std::uint16_t*>(row)};
    const auto plain = [](void* const* arguments, unsigned) {
        for (unsigned i = 0; i < kWarpSize; ++i)
            for (unsigned m = 0; m < 4; ++m)
                std::memcpy(static_cast<Argument*>(arguments[m * 8 + i / 4])->row + i % 4 * 2,
                            &static_cast<const Argument*>(arguments[i])->r[m], 4);
    };
    block().collective(kFullMask, "stmatrix", site, &argument, plain);
}

}  // namespace pid::emu
