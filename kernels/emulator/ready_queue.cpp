#include "block.hpp"

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
    nonempty_ = 0;
    by_warp_.resize(num_warps);
    priority_.resize(num_warps);
    for (auto& warp : by_warp_) warp.clear();
    for (auto& priority : priority_) priority = random() | kHighPriority;
}

void ReadyQueue::push(Thread* thread) {
    if (schedule_ == Schedule::pct) {
        by_warp_[thread->warp()].push_back(thread);
        nonempty_ |= 1u << thread->warp();
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
    if (nonempty_ == 0) return nullptr;
    unsigned best = static_cast<unsigned>(__builtin_ctz(nonempty_));
    for (unsigned left = nonempty_; left != 0; left &= left - 1) {
        const auto warp = static_cast<unsigned>(__builtin_ctz(left));
        if (priority_[warp] > priority_[best]) best = warp;
    }
    if (random() % kDemotionPeriod == 0) priority_[best] = random() & ~kHighPriority;
    auto& threads = by_warp_[best];
    Thread* thread = threads.back();
    threads.pop_back();
    if (threads.empty()) nonempty_ &= ~(1u << best);
    return thread;
}

}  // namespace pid::emu
