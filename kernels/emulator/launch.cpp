#include "launch.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cluster.hpp"
#include "registry.hpp"
#include "sanitizer.hpp"

namespace pid::emu {
namespace {

// Each fiber's stack costs two memory mappings, of which a process has about 65000.
constexpr unsigned kMaxWorkers = 16;
// At the same time in launches of clusters; ThreadSanitizer knows 8128 and keeps a second set (run_clusters).
constexpr unsigned kMaxFibers = sanitizer::kEnabled ? 1536 : kMaxWorkers * kMaxThreads;

// What all workers share of one launch.
struct Job {
    const Registration* kernel;
    Options options;
    const void* params;
    std::uint64_t num_clusters;
    std::atomic<std::uint64_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    std::uint64_t failed_cluster = ~0ull;
    std::string error;
    LaunchEvents events;
};

void run_clusters(Job& job) {
    // Clusters that share stacks and shared memory are in order: ThreadSanitizer cannot see their races with each other.
    constexpr std::uint64_t kNumTurns = sanitizer::kEnabled ? 2 : 1;
    thread_local std::unique_ptr<Cluster> clusters[kNumTurns];
    std::uint64_t turn = 0;
    const Dim3 grid = job.options.grid;
    const unsigned clusters_x = grid.x / job.options.cluster;
    while (!job.failed.load(std::memory_order_relaxed)) {
        const std::uint64_t i = job.next.fetch_add(1);
        if (i >= job.num_clusters) break;
        const Dim3 first{static_cast<unsigned>(i % clusters_x) * job.options.cluster,
                         static_cast<unsigned>(i / clusters_x % grid.y),
                         static_cast<unsigned>(i / (static_cast<std::uint64_t>(clusters_x) * grid.y))};
        std::unique_ptr<Cluster>& cluster = clusters[turn++ % kNumTurns];
        if (!cluster) cluster = std::make_unique<Cluster>();
        const std::string error = cluster->run(job.options, first, job.kernel->body, job.params);
        if (error.empty()) continue;
        const Dim3 index = cluster->failed_index();
        // What the sanitizers know of the abandoned stacks is of no use to the next block.
        if (sanitizer::kEnabled) cluster.reset();
        const std::lock_guard lock(job.mutex);
        if (i < job.failed_cluster) {
            job.failed_cluster = i;
            job.error = "block (" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
                        std::to_string(index.z) + "): " + error;
        }
        job.failed = true;
    }
    // No more stacks than one block may have.
    const bool keeps_pairs = !sanitizer::kEnabled && 2 * job.options.block.count() <= kMaxThreads;
    for (std::unique_ptr<Cluster>& cluster : clusters)
        if (cluster) cluster->keep_blocks(keeps_pairs ? 2 : 1);
}

struct sigaction g_previous[2];

#if defined(PID_EMU_TSAN)
// glibc's own: ThreadSanitizer's sigaction takes a handler that leaves by switching stacks for one that still runs.
extern "C" int __sigaction(int signal, const struct sigaction* action, struct sigaction* previous);
int set_action(int signal, const struct sigaction* action, struct sigaction* previous) {
    return __sigaction(signal, action, previous);
}
#else
int set_action(int signal, const struct sigaction* action, struct sigaction* previous) {
    return sigaction(signal, action, previous);
}
#endif

// A kernel that leaves its memory ends its block with a message; any other fault goes where it went before.
void on_fault(int signal, siginfo_t* info, void* context) {
    if (Block* block = Block::current()) block->fail_access(info->si_addr);
    const struct sigaction& previous = g_previous[signal == SIGSEGV ? 0 : 1];
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else {
        set_action(signal, &previous, nullptr);
    }
}

void install_handlers() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    // NODEFER: the handler leaves by switching stacks, so the mask must not change.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    set_action(SIGSEGV, &action, &g_previous[0]);
    set_action(SIGBUS, &action, &g_previous[1]);
}

// A stack for the handler itself: the faulting fiber's may be full.
void install_signal_stack() {
    constexpr std::size_t kBytes = 64 * 1024;
    thread_local std::unique_ptr<char[]> memory(new char[kBytes]);
    stack_t stack = {};
    stack.ss_sp = memory.get();
    stack.ss_size = kBytes;
    sigaltstack(&stack, nullptr);
}

class Pool {
public:
    Pool() {
        install_handlers();
        sanitizer::start();
        const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
        for (unsigned i = 0; i < std::min(cores, kMaxWorkers); ++i) std::thread([this] { work(); }).detach();
        workers_ = std::min(cores, kMaxWorkers);
    }

    // One launch at a time, as on one stream.
    void run(Job& job) {
        const std::lock_guard one(launch_);
        std::unique_lock lock(mutex_);
        job_ = &job;
        wanted_ = static_cast<unsigned>(std::min<std::uint64_t>(workers_, job.num_clusters));
        if (job.options.cluster > 1)
            wanted_ = std::min(wanted_, std::max(1u, kMaxFibers / (job.options.cluster * job.options.block.count())));
        started_ = 0;
        finished_ = 0;
        begin_.notify_all();
        end_.wait(lock, [&] { return finished_ == wanted_; });
        job_ = nullptr;
    }

private:
    void work() {
        install_signal_stack();
        std::unique_lock lock(mutex_);
        for (;;) {
            begin_.wait(lock, [&] { return job_ && started_ < wanted_; });
            ++started_;
            Job& job = *job_;
            lock.unlock();
            run_clusters(job);
            lock.lock();
            if (++finished_ == wanted_) end_.notify_one();
        }
    }

    std::mutex launch_, mutex_;
    std::condition_variable begin_, end_;
    Job* job_ = nullptr;
    unsigned workers_ = 0, wanted_ = 0, started_ = 0, finished_ = 0;
};

// Never destroyed: its threads may still wait when the process ends.
Pool& pool() {
    static Pool* pool = new Pool;
    return *pool;
}

std::string check(const PidEmuLaunch& launch, const Registration* kernel) {
    if (!kernel) return "there is no such kernel";
    const Dim3 block{launch.block[0], launch.block[1], launch.block[2]};
    const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    if (launch.params_bytes != kernel->params_bytes)
        return "parameters of " + std::to_string(launch.params_bytes) + " bytes, the kernel takes " +
               std::to_string(kernel->params_bytes);
    if (threads == 0 || threads > kernel->entry.threads)
        return "block of " + std::to_string(threads) + " threads, at most " + std::to_string(kernel->entry.threads);
    if (launch.shared_bytes > kMaxSharedBytes)
        return std::to_string(launch.shared_bytes) + " bytes of shared memory, at most " + std::to_string(kMaxSharedBytes);
    if (launch.grid[0] == 0 || launch.grid[1] == 0 || launch.grid[2] == 0) return "an empty grid";
    if (launch.grid[1] > 65535 || launch.grid[2] > 65535) return "a grid of more than 65535 blocks in y or z";
    if (launch.grid[0] % kernel->entry.cluster != 0)
        return "a grid of " + std::to_string(launch.grid[0]) + " blocks in x, no multiple of the cluster of " +
               std::to_string(kernel->entry.cluster);
    if (launch.schedule > 2) return "unknown schedule " + std::to_string(launch.schedule);
    return {};
}

std::string run_launch(const PidEmuLaunch& launch) {
    const Registration* kernel = find_kernel(launch.kernel);
    if (std::string error = check(launch, kernel); !error.empty()) return error;
    Job job;
    job.kernel = kernel;
    job.options.grid = Dim3{launch.grid[0], launch.grid[1], launch.grid[2]};
    job.options.block = Dim3{launch.block[0], launch.block[1], launch.block[2]};
    job.options.cluster = kernel->entry.cluster;
    job.options.shared_bytes = launch.shared_bytes;
    job.options.schedule = static_cast<Schedule>(launch.schedule);
    job.options.seed = launch.seed;
    job.params = launch.params;
    job.num_clusters = std::uint64_t{launch.grid[0] / kernel->entry.cluster} * launch.grid[1] * launch.grid[2];
    job.options.events = &job.events;
    sanitizer::release(&job.events.begin);
    pool().run(job);
    sanitizer::acquire(&job.events.end);
    return job.error;
}

// Around every allocation. Wider than what a store without its guard can be off by (a tile of rows), so that it ends in a
// message and never in another test's memory; addresses alone, no memory.
constexpr std::size_t kGuardBytes = 16u << 20;

std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
std::size_t rounded(std::size_t bytes, std::size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

}  // namespace
}  // namespace pid::emu

int pid_emu_launch(const PidEmuLaunch* launch, char* error, std::size_t error_bytes) {
    const std::string text = pid::emu::run_launch(*launch);
    if (text.empty()) return 0;
    std::snprintf(error, error_bytes, "%s", text.c_str());
    return 1;
}

void* pid_emu_allocate(std::size_t bytes) {
    using namespace pid::emu;
    // Beyond, the sums below would wrap.
    if (bytes > SIZE_MAX / 2) return nullptr;
    const std::size_t used = rounded(bytes, 16), mapped = rounded(used, page());
    void* memory = mmap(nullptr, mapped + 2 * kGuardBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    char* start = static_cast<char*>(memory) + kGuardBytes;
    if (mprotect(start, mapped, PROT_READ | PROT_WRITE) != 0) {
        munmap(memory, mapped + 2 * kGuardBytes);
        return nullptr;
    }
    std::memset(start, kPoison, mapped);
    return start + (mapped - used);
}

void pid_emu_free(void* pointer, std::size_t bytes) {
    using namespace pid::emu;
    const std::size_t used = rounded(bytes, 16), mapped = rounded(used, page());
    char* start = static_cast<char*>(pointer) - (mapped - used);
    munmap(start - kGuardBytes, mapped + 2 * kGuardBytes);
}

int pid_emu_kernel(std::size_t index, PidEmuKernel* kernel) {
    const pid::emu::Registration* r = pid::emu::first_kernel();
    while (r && index-- > 0) r = r->next;
    if (!r) return 0;
    *kernel = {r->name, r->fault_of, r->params_bytes, &r->entry};
    return 1;
}
