// async_proxy: what the asynchronous proxy (TMA, wgmma) sees of shared memory that threads wrote with ordinary stores.
//   On a GPU those stores reach it only by fence.proxy.async, made by the threads that stored, before whatever tells the
//   issuer. Here a copy of shared memory is taken at every fence; an operation that is to read bytes which differ
//   from the copy is an error. One thread's fence covers the stores of all: a fence that only some threads make is found
//   by ThreadSanitizer alone.
#pragma once
#include <vector>

#include "cluster.hpp"
#include "sanitizer.hpp"

namespace pid::emu {

class AsyncProxy {
public:
    // Of the shared memory of `block`.
    explicit AsyncProxy(Block& block) : block_(block) {}
    void reset();
    void fence();
    // The asynchronous proxy itself wrote these bytes.
    void wrote(const void* p, std::size_t bytes);
    // True when the bytes hold stores that no fence covers.
    bool stale(const void* p, std::size_t bytes);

    // For ThreadSanitizer: the running thread has the proxy write these bytes, and what it does next comes after that.
    void writes(void* p, std::size_t bytes);
    // Runs f with the clock of those writes.
    template <class F>
    void as_writer(F f) {
        writer_.run(f);
    }
    // The running thread has the proxy read these bytes: ordered after fences and the proxy's writes alone.
    void reads(const void* p, std::size_t bytes);
    // The running thread has waited for such reads.
    void reads_done();

private:
    // A clock that no thread has.
    struct Clock {
        void* fiber = nullptr;
        Clock() = default;
        Clock(const Clock&) = delete;
        Clock& operator=(const Clock&) = delete;
        ~Clock() { sanitizer::destroy_fiber(fiber); }
        template <class F>
        void run(F f) {
            void* thread = sanitizer::current_fiber();
            if (!fiber) {
                // It starts out knowing what its creator knows, which must not be what the running thread knows.
                sanitizer::switch_clock(Block::current()->cluster().scheduler_clock());
                fiber = sanitizer::create_fiber();
            }
            sanitizer::switch_clock(fiber);
            f();
            sanitizer::switch_clock(thread);
        }
    };
    void prepare();

    Block& block_;
    // Two, since the writer learns what the issuing threads know, and would hide a missing fence from the reader.
    Clock writer_, reader_;

    std::vector<char> copy_;  // empty until first used
    unsigned num_fences_ = 0;
    bool fence_owed_ = false;
};

}  // namespace pid::emu
