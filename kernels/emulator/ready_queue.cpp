#include "cluster.hpp"

namespace pid::emu {

// PCT: on average every so many decisions the favourite warp falls behind all others.
constexpr std::uint64_t kDemotionPeriod = 61;
constexpr std::uint64_t kHighPriority = 1ull << 63;

std::uint64_t ReadyQueue::random() {
    std::uint64_t z = (random_state_ += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

void ReadyQueue::reset(const Options& options, unsigned num_warps, std::uint64_t seed) {
    schedule_ = options.schedule;
    random_state_ = seed;
    order_.clear();
    head_ = 0;
    nonempty_.assign((num_warps + 63) / 64, 0);
    by_warp_.resize(num_warps);
    priority_.resize(num_warps);
    for (auto& warp : by_warp_) warp.clear();
    for (auto& priority : priority_) priority = random() | kHighPriority;
}

void ReadyQueue::push(Thread* thread) {
    if (schedule_ == Schedule::pct) {
        by_warp_[thread->queue].push_back(thread);
        nonempty_[thread->queue / 64] |= 1ull << thread->queue % 64;
    } else {
        order_.push_back(thread);
    }
}

Thread* ReadyQueue::pop() {
    if (schedule_ == Schedule::pct) return pop_pct();
    if (head_ == order_.size()) return nullptr;
    if (schedule_ == Schedule::lifo) {
        Thread* thread = order_.back();
        order_.pop_back();
        return thread;
    }
    Thread* thread = order_[head_++];
    if (head_ == order_.size() || head_ > 4096) {
        order_.erase(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(head_));
        head_ = 0;
    }
    return thread;
}

Thread* ReadyQueue::pop_pct() {
    const std::size_t none = priority_.size();
    std::size_t best = none;
    for (std::size_t word = 0; word < nonempty_.size(); ++word)
        for (std::uint64_t left = nonempty_[word]; left != 0; left &= left - 1) {
            const std::size_t warp = word * 64 + static_cast<unsigned>(__builtin_ctzll(left));
            if (best == none || priority_[warp] > priority_[best]) best = warp;
        }
    if (best == none) return nullptr;
    if (random() % kDemotionPeriod == 0) priority_[best] = random() & ~kHighPriority;
    auto& threads = by_warp_[best];
    Thread* thread = threads.back();
    threads.pop_back();
    if (threads.empty()) nonempty_[best / 64] &= ~(1ull << best % 64);
    return thread;
}

}  // namespace pid::emu
