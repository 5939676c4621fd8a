#include "cluster.hpp"

#include <utility>

#include "sanitizer.hpp"

namespace pid::emu {

namespace {
void set_running(Thread* thread) {
    g_thread = thread;
    g_block = thread ? &thread->block->place() : nullptr;
}
}  // namespace

__thread const ThreadPlace* g_thread = nullptr;
__thread const BlockPlace* g_block = nullptr;

std::string Cluster::run(const Options& options, Dim3 first, KernelBody body, const void* params) {
    options_ = options;
    body_ = body;
    params_ = params;
    error_.clear();
    failed_index_ = first;
    turn_ ^= 1;
    progress_ = 0;
    num_live_ = num_pending_ = options.cluster * options.block.count();
    phase_ = 0;
    waiting_.clear();
    const unsigned num_warps = (options.block.count() + kWarpSize - 1) / kWarpSize;
    const std::uint64_t place = (first.z * 0x10001ull + first.y) * 0x10001ull + first.x;
    random_ = options.seed * 0x2545F4914F6CDD1Dull + place;
    ready_.reset(options, num_warps * options.cluster, random_);
    while (blocks_.size() < options.cluster) blocks_.push_back(std::make_unique<Block>(*this));
    for (unsigned rank = 0; rank < options.cluster; ++rank)
        blocks_[rank]->start({Dim3{first.x + rank, first.y, first.z}, options.block, options.grid, rank, options.cluster});
    set_running(ready_.pop());
    switch_fiber(scheduler_, Block::thread().context);
    // A block that failed for another reason did not come to the switch that takes it.
    if (sanitizer::reported()) error_ += std::string("\n") + sanitizer::take_report();
    set_running(nullptr);
    if (!error_.empty()) abandon();
    return error_;
}

// For ThreadSanitizer: threads that were left where they stood come before what follows the launch.
void Cluster::abandon() {
    void* const own = sanitizer::current_fiber();
    for (const std::unique_ptr<Block>& block : blocks_)
        for (unsigned i = 0; i < block->num_threads(); ++i) {
            sanitizer::switch_clock(block->thread_at(i).context.tsan_fiber);
            sanitizer::release(&options_.events->end);
        }
    sanitizer::switch_clock(own);
}

void Cluster::keep_blocks(std::size_t count) {
    if (blocks_.size() > count) blocks_.resize(count);
}

Block& Cluster::peer(unsigned rank, const char* operation, Site site) {
    Block& own = *Block::current();
    if (rank >= size()) own.fail(site, "%s: CTA %u of a cluster of %u", operation, rank, size());
    if (blocks_[rank]->is_done()) own.fail(site, "%s: CTA %u has exited", operation, rank);
    return *blocks_[rank];
}

// .aligned: all lanes of the warp that there are.
void Cluster::meet_warp(const char* operation, Site site) {
    const Block& block = *Block::current();
    const unsigned lanes = block.num_threads() - Block::thread().warp() * kWarpSize;
    const unsigned mask = lanes >= kWarpSize ? kFullMask : (1u << lanes) - 1;
    Block::current()->collective(mask, operation, site, nullptr, [](void* const*, unsigned) {});
}

void Cluster::arrive(Site site) {
    meet_warp("barrier.cluster.arrive", site);
    Thread& t = Block::thread();
    if (t.cluster_arrived)
        t.block->fail(site, "barrier.cluster.arrive: thread %u has arrived before, and not waited since", t.linear);
    t.cluster_arrived = true;
    t.cluster_phase = phase_;
    sanitizer::release(&clocks_[phase_ % 2]);
    if (--num_pending_ == 0) complete_phase();
}

void Cluster::wait(Site site) {
    meet_warp("barrier.cluster.wait", site);
    Thread& t = Block::thread();
    if (!t.cluster_arrived) t.block->fail(site, "barrier.cluster.wait: thread %u has not arrived", t.linear);
    while (t.cluster_phase == phase_) {
        waiting_.push_back(&t);
        t.block->wait("barrier.cluster.wait", site);
    }
    t.cluster_arrived = false;
    sanitizer::acquire(&clocks_[t.cluster_phase % 2]);
}

void Cluster::exited(Thread& t) {
    --num_live_;
    const bool counted = t.cluster_arrived && t.cluster_phase == phase_;
    if (!counted && --num_pending_ == 0 && num_live_ > 0) complete_phase();
}

void Cluster::complete_phase() {
    ++phase_;
    ++progress_;
    num_pending_ = num_live_;
    std::vector<Thread*> waiting;
    waiting.swap(waiting_);
    for (Thread* t : waiting) t->block->wake(*t);
}

// Every thread is stuck: one load lands, in a block chosen as the schedule chooses; else waits may give up.
bool Cluster::deliver() {
    unsigned first = 0;
    if (options_.schedule == Schedule::lifo) first = size() - 1;
    if (options_.schedule == Schedule::pct) {
        random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
        first = static_cast<unsigned>(random_ >> 33) % size();
    }
    for (unsigned i = 0; i < size(); ++i) {
        AsyncEngine* engine = blocks_[(first + size() - i) % size()]->engine();
        if (engine && engine->deliver()) return true;
    }
    bool any = false;
    for (unsigned rank = 0; rank < size(); ++rank) {
        AsyncEngine* engine = blocks_[rank]->engine();
        if (engine && engine->time_out()) any = true;
    }
    return any;
}

void Cluster::switch_from(Thread& t) {
    if (sanitizer::reported()) stop(*t.block, sanitizer::take_report());
    Thread* next = ready_.pop();
    while (!next && num_live_ > 0 && deliver()) next = ready_.pop();
    if (next == &t) return;
    if (!next) {
        if (num_live_ > 0) error_ = deadlock();
        switch_fiber(t.context, scheduler_);
    } else {
        set_running(next);
        switch_fiber(t.context, next->context);
    }
}

void Cluster::leave() {
    switch_from(Block::thread());
    __builtin_unreachable();
}

void Cluster::stop(const Block& block, std::string error) {
    error_ = std::move(error);
    failed_index_ = block.place().index;
    switch_fiber(Block::thread().context, scheduler_);
    __builtin_unreachable();
}

std::string Cluster::deadlock() {
    if (size() == 1) return "deadlock:" + blocks_[0]->state();
    std::string text = "deadlock:";
    bool named = false;
    for (unsigned rank = 0; rank < size(); ++rank) {
        const Block& block = *blocks_[rank];
        if (!named && !block.is_done()) failed_index_ = block.place().index;
        named = named || !block.is_done();
        text += " CTA " + std::to_string(rank) + ":" + (block.is_done() ? std::string(" exit;") : block.state());
    }
    return text;
}

}  // namespace pid::emu
