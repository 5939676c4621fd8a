// async_proxy: what the asynchronous proxy (TMA, wgmma) sees of shared memory that threads wrote with ordinary stores.
//   On a GPU those stores reach it only by fence.proxy.async, made by the threads that stored, before whatever tells the
//   issuer. Here a copy of shared memory is taken at every fence; an operation that is to read bytes which differ
//   from the copy is an error. One thread's fence covers the stores of all: a fence that only some threads make is found
//   by ThreadSanitizer alone.
#pragma once
#include <vector>

#include "block.hpp"
#include "sanitizer.hpp"

namespace pid::emu {

class AsyncProxy {
public:
    void reset() {
        copy_.clear();
        num_fences_ = 0;
        fence_owed_ = false;
    }
    void fence();
    // The asynchronous proxy itself wrote these bytes.
    void wrote(const void* p, std::size_t bytes);
    // True when the bytes hold stores that no fence covers.
    bool stale(const void* p, std::size_t bytes);

private:
    void prepare();

    std::vector<char> copy_;  // empty until first used
    unsigned num_fences_ = 0;
    bool fence_owed_ = false;
};

}  // namespace pid::emu
