#include "block.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "cluster.hpp"
#include "sanitizer.hpp"

namespace pid::emu {

namespace {
constexpr std::size_t kStackBytes = 256 * 1024;
// Between the beginnings of neighbouring lanes' stacks: those of a warp go evenly round the cache.
constexpr std::size_t kStackStep = 128;
// A canary behind shared memory: writes past the end are found when the block ends.
constexpr std::size_t kCanaryBytes = 256;
constexpr unsigned char kCanary = 0xa5;
constexpr std::size_t kSharedAlignment = 1024;

std::string at(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }
}  // namespace

const Options& Block::options() const { return cluster_.options(); }

Block::Block(Cluster& cluster) : cluster_(cluster), shared_memory_(new char[kMaxSharedBytes + kCanaryBytes + kSharedAlignment]) {
    auto address = reinterpret_cast<std::uintptr_t>(shared_memory_.get());
    shared_ = reinterpret_cast<char*>((address + kSharedAlignment - 1) / kSharedAlignment * kSharedAlignment);
}

Block::~Block() {
    for (const auto& thread : threads_) sanitizer::destroy_fiber(thread->context.tsan_fiber);
}

void Block::start(const BlockPlace& place) {
    place_ = place;
    const Options& options = cluster_.options();
    num_threads_ = options.block.count();
    num_done_ = 0;
    sanitizer::unpoison(shared_, kMaxSharedBytes + kCanaryBytes);
    std::memset(shared_, kPoison, options.shared_bytes);
    std::memset(shared_ + options.shared_bytes, kCanary, kCanaryBytes);
    sanitizer::poison(shared_ + options.shared_bytes, kMaxSharedBytes + kCanaryBytes - options.shared_bytes);
    for (auto& barrier : barriers_) barrier = Barrier{};
    if (engine_) engine_->reset();
    const unsigned num_warps = (num_threads_ + kWarpSize - 1) / kWarpSize;
    rendezvous_.assign(num_warps, {});
    while (threads_.size() < num_threads_) {
        threads_.push_back(std::make_unique<Thread>());
        threads_.back()->stack = std::make_unique<Stack>(kStackBytes, (threads_.size() - 1) % kWarpSize * kStackStep);
        // Here, where no CUDA thread runs: it starts out knowing what its creator knows.
        threads_.back()->context.tsan_fiber = sanitizer::create_fiber();
    }
    const Dim3 extent = options.block;
    for (unsigned i = 0; i < num_threads_; ++i) {
        Thread& t = *threads_[i];
        t.linear = i;
        t.index = Dim3{i % extent.x, i / extent.x % extent.y, i / (extent.x * extent.y)};
        t.block = this;
        t.queue = place.rank * num_warps + t.warp();
        t.cluster_arrived = false;
        t.status = Status::runnable;
        t.uncommitted.clear();
        t.groups.clear();
        sanitizer::unpoison(t.stack->bottom(), kStackBytes);
        make_fiber(t.context, *t.stack, &Block::enter, this);
        cluster_.push(&t);
    }
}

void Block::enter(void* self) {
    auto* block = static_cast<Block*>(self);
    Cluster& cluster = block->cluster_;
    // After the launch began, and after the cluster that had these stacks and this shared memory before. Clusters on other
    // stacks are not ordered.
    sanitizer::acquire(&cluster.options().events->begin);
    sanitizer::acquire(&cluster.end_event_before());
    cluster.run_body();
    block->finish_thread(thread());
    sanitizer::release(&cluster.end_event());
    sanitizer::release(&cluster.options().events->end);
    cluster.leave();
}

void Block::finish_thread(Thread& t) {
    if (!t.uncommitted.empty() || !t.groups.empty()) {
        const Site site = t.uncommitted.empty() ? t.groups.front().front().site : t.uncommitted.front().site;
        fail(site, "thread %u ended before its cp.async was waited for", t.linear);
    }
    t.status = Status::done;
    ++num_done_;
    cluster_.exited(t);
    if (!is_done()) return;
    sanitizer::ignore_begin();
    std::string error = end_checks();
    sanitizer::ignore_end();
    if (!error.empty()) cluster_.stop(*this, std::move(error));
}

std::string Block::end_checks() const {
    const auto* canary = reinterpret_cast<const unsigned char*>(shared_ + options().shared_bytes);
    const bool intact = std::all_of(canary, canary + kCanaryBytes, [](unsigned char c) { return c == kCanary; });
    if (!intact) return "a write past the end of shared memory (" + std::to_string(options().shared_bytes) + " bytes)";
    return engine_ ? engine_->finish() : std::string();
}

void Block::wait(const char* reason, Site site) {
    Thread& t = thread();
    t.status = Status::waiting;
    t.waiting_for = reason;
    t.waiting_at = site;
    cluster_.switch_from(t);
}

void Block::wake(Thread& t) {
    t.status = Status::runnable;
    cluster_.push(&t);
}

void Block::arrive(unsigned id, unsigned count, Site site) {
    if (id >= kNumNamedBarriers) fail(site, "barrier %u, there are %u", id, kNumNamedBarriers);
    if (count == 0 || count % kWarpSize != 0 || count > (num_threads_ + kWarpSize - 1) / kWarpSize * kWarpSize)
        fail(site, "barrier %u for %u threads of a block of %u", id, count, num_threads_);
    Barrier& barrier = barriers_[id];
    if (barrier.expected != 0 && barrier.expected != count)
        fail(site, "barrier %u: some threads expect %u, thread %u expects %u", id, barrier.expected, thread().linear,
             count);
    barrier.expected = count;
    ++barrier.arrived;
    sanitizer::release(&barrier);
}

void Block::release(Barrier& barrier) {
    std::vector<Thread*> waiting;
    waiting.swap(barrier.waiting);
    barrier = Barrier{};
    for (Thread* t : waiting) wake(*t);
}

void Block::barrier(unsigned id, unsigned count, Site site) {
    arrive(id, count, site);
    Barrier& barrier = barriers_[id];
    // A block whose size is no multiple of the warp's counts its absent lanes as arrived.
    if (barrier.arrived < std::min(count, num_threads_)) {
        barrier.waiting.push_back(&thread());
        wait("barrier", site);
    } else {
        release(barrier);
    }
    sanitizer::acquire(&barrier);
}

void Block::barrier_arrive(unsigned id, unsigned count, Site site) {
    arrive(id, count, site);
    Barrier& barrier = barriers_[id];
    if (barrier.arrived >= std::min(count, num_threads_)) release(barrier);
}

void Block::collective(unsigned mask, const char* operation, Site site, void* argument, Compute compute) {
    Thread& t = thread();
    const unsigned bit = 1u << t.lane();
    if (!(mask & bit)) fail(site, "%s: lane %u is not in its own mask %08x", operation, t.lane(), mask);
    auto& meetings = rendezvous_[t.warp()];
    auto found = meetings.begin();
    while (found != meetings.end() && !(found->mask & mask)) ++found;
    if (found == meetings.end()) {
        meetings.emplace_back(mask, operation, site);
        found = meetings.end() - 1;
    }
    if (found->mask != mask)
        fail(site, "%s with mask %08x while lanes of mask %08x wait in %s (%s)", operation, mask, found->mask,
             found->operation, at(found->site).c_str());
    if (found->operation != operation || found->site.line != site.line)
        fail(site, "%s meets %s (%s) in one warp: divergent collectives", operation, found->operation,
             at(found->site).c_str());
    found->arrived |= bit;
    found->arguments[t.lane()] = argument;
    if (found->arrived != mask) {
        wait(operation, site);
        return;
    }
    compute(found->arguments, mask);
    meetings.erase(found);
    for (unsigned left = mask & ~bit; left != 0; left &= left - 1)
        wake(*threads_[t.warp() * kWarpSize + static_cast<unsigned>(__builtin_ctz(left))]);
}

bool Block::in_shared(const void* pointer, std::size_t bytes) const {
    const auto* p = static_cast<const char*>(pointer);
    return p >= shared_ && p + bytes <= shared_ + options().shared_bytes;
}

std::string Block::state() const {
    std::string text;
    for (unsigned first = 0; first < num_threads_; first += kWarpSize) {
        std::string last;
        unsigned count = 0;
        const auto flush = [&] {
            if (count)
                text += " warp " + std::to_string(first / kWarpSize) + ": " + std::to_string(count) + " in " + last + ";";
        };
        for (unsigned i = first; i < std::min(first + kWarpSize, num_threads_); ++i) {
            const Thread& t = *threads_[i];
            const std::string now =
                t.status == Status::done ? "exit" : std::string(t.waiting_for) + " at " + at(t.waiting_at);
            if (now != last) {
                flush();
                last = now;
                count = 0;
            }
            ++count;
        }
        flush();
    }
    return engine_ ? text + engine_->state() : text;
}

void Block::fail(Site site, const char* format, ...) {
    // Messages are made in memory that all blocks of a worker use in turn.
    sanitizer::ignore_begin();
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    std::string error = at(site) + ": " + text;
    sanitizer::ignore_end();
    cluster_.stop(*this, std::move(error));
}

void Block::fail_access(const void* address) {
    sanitizer::ignore_begin();
    char text[160];
    const auto offset = static_cast<const char*>(address) - thread().stack->bottom();
    const bool overflow = offset < 0 && offset > -65536;
    std::snprintf(text, sizeof text, "thread %u %s %p", thread().linear,
                  overflow ? "overflowed its stack at" : "accessed memory that is not allocated, at", address);
    std::string error = text;
    sanitizer::ignore_end();
    cluster_.stop(*this, std::move(error));
}

}  // namespace pid::emu
