// mbarrier: the 64-bit barriers in shared memory that count arrivals and bytes.
//   The word in shared memory is the state; a record beside it holds who waits, and a copy that tells when a kernel
//   overwrote the word.
#pragma once
#include <map>

#include "cluster.hpp"

namespace pid::emu {

// Bits 0-19 pending arrivals, 20-39 arrivals of a phase, 40-60 bytes still expected (signed), 63 phase. The layout on a
// GPU is not documented; kernels may not look inside.
struct MbarrierWord {
    static constexpr unsigned kMaxCount = (1u << 20) - 1;
    static constexpr int kMaxBytes = (1 << 20) - 1;

    unsigned pending = 0, expected = 0, phase = 0;
    int bytes = 0;

    static MbarrierWord unpack(std::uint64_t bits);
    std::uint64_t pack() const;
};

class Mbarriers {
public:
    // Those in the shared memory of `block`; threads of other blocks of the cluster may call arrive() alone.
    explicit Mbarriers(Block& block) : block_(block) {}
    void reset();
    void init(std::uint64_t* bar, unsigned count, Site site);
    void inval(std::uint64_t* bar, Site site);
    // Adds `bytes` to what the phase waits for, then counts one arrival.
    void arrive(std::uint64_t* bar, unsigned bytes, Site site);
    // `bytes` have landed. Called by the asynchronous proxy.
    void complete_bytes(std::uint64_t* bar, unsigned bytes, Site site);
    // Suspends until the phase of this parity is complete.
    void wait(std::uint64_t* bar, unsigned parity, Site site);
    // The same, but gives up (false) when nothing else in the block moves.
    bool try_wait(std::uint64_t* bar, unsigned parity, Site site);
    // The running thread made its initialised barriers visible to the asynchronous proxy.
    void fence_init();
    // Fails unless `bar` is initialised, and visible to the asynchronous proxy.
    void check_async(std::uint64_t* bar, const char* operation, Site site);
    // Lets the try_wait()s give up; false when that moved nothing lately.
    bool time_out();
    std::string state() const;

private:
    struct Waiter {
        Thread* thread;
        bool* timed_out;  // null: does not give up
    };
    struct Record {
        std::uint64_t word = 0;
        unsigned count = 0;
        Site site{"", 0};
        unsigned thread = 0;  // that initialised it
        bool fenced = false;
        std::uint64_t known_from = 0;  // phase of barrier.cluster
        std::vector<Waiter> waiting;
    };
    Record& find(std::uint64_t* bar, const char* operation, Site site);
    // Fails when the running thread is another block's and cannot know that the barrier is initialised.
    void check_known(const Record& record, const char* operation, Site site);
    void store(std::uint64_t* bar, Record& record, MbarrierWord word);
    bool suspend(std::uint64_t* bar, unsigned parity, bool gives_up, const char* operation, Site site);

    void check_place(const std::uint64_t* bar, const char* operation, Site site);

    Block& block_;
    std::map<std::uint64_t*, Record> records_;
    std::uint64_t progress_at_time_out_ = 0;
    unsigned idle_time_outs_ = 0;
};

}  // namespace pid::emu
