// cluster: the blocks that run together on one OS thread, and the schedule between their threads: those of a thread-block
//   cluster, or one block alone. They meet at barrier.cluster; what they send each other lands in the receiver's engine.
#pragma once
#include "block.hpp"

namespace pid::emu {

// Threads that can run, handed out in the order of the schedule.
class ReadyQueue {
public:
    void reset(const Options& options, unsigned num_warps, std::uint64_t seed);
    void push(Thread* thread);
    Thread* pop();  // null when empty

private:
    Thread* pop_pct();
    std::uint64_t random();

    Schedule schedule_ = Schedule::fifo;
    std::vector<Thread*> order_;  // fifo: from head_ on; lifo: from the back
    std::size_t head_ = 0;
    std::vector<std::vector<Thread*>> by_warp_;  // pct
    std::vector<std::uint64_t> priority_;
    std::vector<std::uint64_t> nonempty_;  // bit per warp
    std::uint64_t random_state_ = 0;
};

class Cluster {
public:
    // Runs the cluster whose first block is `first`; empty on success, else what went wrong.
    std::string run(const Options& options, Dim3 first, KernelBody body, const void* params);
    // The block that went wrong.
    Dim3 failed_index() const { return failed_index_; }
    // Gives back the memory of all blocks but the first `count`.
    void keep_blocks(std::size_t count);

    const Options& options() const { return options_; }
    unsigned size() const { return options_.cluster; }
    Block& block(unsigned rank) { return *blocks_[rank]; }
    // The block of that rank as the target of the running thread; fails when there is none, or it has exited.
    Block& peer(unsigned rank, const char* operation, Site site);

    // barrier.cluster.arrive and .wait of the running thread, by whole warps; exited threads are not waited for.
    void arrive(Site site);
    void wait(Site site);
    void exited(Thread& thread);
    // Phases of that barrier that are complete.
    std::uint64_t phase() const { return phase_; }

    void push(Thread* thread) { ready_.push(thread); }
    // Gives the OS thread to the next thread that can run; without one the cluster is done, or stuck.
    void switch_from(Thread& thread);
    // The running thread has ended.
    [[noreturn]] void leave();
    // Ends the cluster with a message about `block`.
    [[noreturn]] void stop(const Block& block, std::string error);
    void run_body() const { body_(params_); }

    // Counts what may end somebody's wait.
    void note_progress() { ++progress_; }
    std::uint64_t progress() const { return progress_; }

    // For ThreadSanitizer: a clock that knows of no CUDA thread, and the ends of this cluster and of the one before on
    // these stacks.
    void* scheduler_clock() const { return scheduler_.tsan_fiber; }
    std::uint64_t& end_event() { return end_events_[turn_]; }
    std::uint64_t& end_event_before() { return end_events_[turn_ ^ 1]; }

private:
    void meet_warp(const char* operation, Site site);
    void complete_phase();
    bool deliver();
    std::string deadlock();
    void abandon();

    Options options_;
    KernelBody body_ = nullptr;
    const void* params_ = nullptr;
    std::vector<std::unique_ptr<Block>> blocks_;  // by rank
    ReadyQueue ready_;
    Context scheduler_;
    std::uint64_t random_ = 0;
    std::uint64_t progress_ = 0;

    // barrier.cluster. The clocks by parity: a thread that is late to its wait learns nothing of the next phase.
    unsigned num_live_ = 0, num_pending_ = 0;
    std::uint64_t phase_ = 0;
    std::uint64_t clocks_[2] = {};
    std::vector<Thread*> waiting_;

    // In turn; two, or a thread that ends would be before one of its own cluster that has not begun.
    std::uint64_t end_events_[2] = {};
    unsigned turn_ = 0;
    std::string error_;
    Dim3 failed_index_;
};

}  // namespace pid::emu
