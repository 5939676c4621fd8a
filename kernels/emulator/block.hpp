// block: one CUDA thread block, each CUDA thread a fiber. The blocks of a cluster (cluster.hpp) share one OS thread and
//   the schedule of their threads. A thread runs until it waits for others (barrier, warp collective, asynchronous work).
//   A fault ends the cluster with a message; nothing unwinds, the stacks are reused.
#pragma once
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "async.hpp"
#include "fiber.hpp"
#include "kernel.hpp"

namespace pid::emu {

constexpr unsigned kWarpSize = 32;
constexpr unsigned kFullMask = 0xffffffffu;
constexpr unsigned kNumNamedBarriers = 16;
constexpr unsigned kMaxThreads = 1024;
// The most that any supported card gives a block (sm_90: 227 KB).
constexpr std::size_t kMaxSharedBytes = 227 * 1024;
// Fresh and in-flight memory: NaN in every float format.
constexpr unsigned char kPoison = 0xff;

// Which of the threads that can run goes on. FIFO alone hides reuse races; tests use LIFO and several PCT seeds.
enum class Schedule : std::uint32_t { fifo = 0, lifo = 1, pct = 2 };

// Stand for the beginning and the end of a launch in ThreadSanitizer's order of events.
struct LaunchEvents {
    std::uint64_t begin = 0, end = 0;
};

struct Options {
    Dim3 grid, block;
    unsigned cluster = 1;  // blocks along x
    std::size_t shared_bytes = 0;
    Schedule schedule = Schedule::fifo;
    std::uint64_t seed = 0;
    LaunchEvents* events = nullptr;
};

// One cp.async: source and destination are remembered, the bytes move when its group is waited for.
struct AsyncCopy {
    void* destination;
    const void* source;
    unsigned bytes;         // 4, 8 or 16
    unsigned source_bytes;  // the rest is zeros
    Site site;
};

class Block;
class Cluster;

enum class Status : std::uint8_t { runnable, waiting, done };

struct Thread : ThreadPlace {
    Block* block = nullptr;
    unsigned queue = 0;  // its warp among those of the cluster
    // barrier.cluster: has arrived, in that phase, and not waited since.
    bool cluster_arrived = false;
    std::uint64_t cluster_phase = 0;
    Status status = Status::runnable;
    const char* waiting_for = "";
    Site waiting_at{"", 0};
    Context context;
    std::unique_ptr<Stack> stack;
    std::vector<AsyncCopy> uncommitted;
    std::vector<std::vector<AsyncCopy>> groups;  // committed cp.async groups, oldest first

    unsigned lane() const { return linear % kWarpSize; }
    unsigned warp() const { return linear / kWarpSize; }
};

struct Barrier {
    unsigned expected = 0;  // 0: nobody has arrived
    unsigned arrived = 0;
    std::vector<Thread*> waiting;
};

// Lanes of a warp that meet in one collective.
struct Rendezvous {
    Rendezvous(unsigned lanes, const char* what, Site where) : mask(lanes), operation(what), site(where) {}
    unsigned mask;
    unsigned arrived = 0;
    const char* operation;
    Site site;
    void* arguments[kWarpSize];  // of those that have arrived
};

class Block {
public:
    using Compute = void (*)(void* const* arguments, unsigned mask);

    explicit Block(Cluster& cluster);
    ~Block();
    // Readies the block at `place`; its threads can run.
    void start(const BlockPlace& place);
    // A line for the deadlock report: where every warp stands, and what is awaited.
    std::string state() const;

    // The block and thread that run on this OS thread; null outside of a launch.
    static Block* current() { return g_thread ? thread().block : nullptr; }
    static Thread& thread() { return *static_cast<Thread*>(const_cast<ThreadPlace*>(g_thread)); }

    const Options& options() const;
    Cluster& cluster() const { return cluster_; }
    const BlockPlace& place() const { return place_; }
    char* shared() const { return shared_; }
    unsigned num_threads() const { return num_threads_; }
    // All its threads have ended: nothing may touch its shared memory any more.
    bool is_done() const { return num_done_ == num_threads_; }

    // bar.sync id, count: all of `count` threads have arrived.
    void barrier(unsigned id, unsigned count, Site site);
    // bar.arrive id, count: counts, and goes on.
    void barrier_arrive(unsigned id, unsigned count, Site site);
    // Meets the lanes of `mask`; the last to come runs compute(arguments by lane), then all go on.
    void collective(unsigned mask, const char* operation, Site site, void* argument, Compute compute);
    // Suspends the running thread until wake().
    void wait(const char* reason, Site site);
    void wake(Thread& thread);
    // Ends the cluster with a message.
    [[noreturn]] void fail(Site site, const char* format, ...) __attribute__((format(printf, 3, 4)));
    // Ends the cluster from a signal handler: the running thread touched memory that it may not.
    [[noreturn]] void fail_access(const void* address);
    // True when `bytes` at `pointer` lie in this block's shared memory.
    bool in_shared(const void* pointer, std::size_t bytes) const;
    // The work beside the threads; null until something attaches it, kept from block to block.
    AsyncEngine* engine() const { return engine_.get(); }
    void attach(std::unique_ptr<AsyncEngine> engine) { engine_ = std::move(engine); }
    Thread& thread_at(unsigned linear) { return *threads_[linear]; }

private:
    static void enter(void* block);
    void arrive(unsigned id, unsigned count, Site site);
    void release(Barrier& barrier);
    void finish_thread(Thread& thread);
    std::string end_checks() const;

    Cluster& cluster_;
    BlockPlace place_;
    char* shared_ = nullptr;
    std::unique_ptr<char[]> shared_memory_;
    std::vector<std::unique_ptr<Thread>> threads_;
    unsigned num_threads_ = 0;
    unsigned num_done_ = 0;
    Barrier barriers_[kNumNamedBarriers];
    std::vector<std::vector<Rendezvous>> rendezvous_;  // by warp; several masks may meet at a time
    std::unique_ptr<AsyncEngine> engine_;
};

}  // namespace pid::emu
