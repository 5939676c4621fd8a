#include "async_proxy.hpp"

#include <cstring>

namespace pid::emu {

namespace {
// A fence copies all of shared memory. Past so many in a block, the copy waits for the next operation that reads: then
// a store after the last fence passes, but a loop with a fence per thread and turn stays fast.
constexpr unsigned kMaxExactFences = 4096;

// memcpy, but not the one that AddressSanitizer checks: loads in flight leave poisoned bytes in between.
void copy_unchecked(char* to, const char* from, std::size_t bytes) {
    constexpr std::size_t kStep = 16;
    std::size_t i = 0;
    for (; i + kStep <= bytes; i += kStep) {
        std::uint64_t low, high;
        __builtin_memcpy(&low, from + i, 8);
        __builtin_memcpy(&high, from + i + 8, 8);
        asm volatile("" ::: "memory");  // keeps the compiler from making a memcpy of the loop
        __builtin_memcpy(to + i, &low, 8);
        __builtin_memcpy(to + i + 8, &high, 8);
    }
    for (; i < bytes; ++i) {
        to[i] = from[i];
        asm volatile("" ::: "memory");
    }
}
}  // namespace

void AsyncProxy::reset() {
    copy_.clear();
    num_fences_ = 0;
    fence_owed_ = false;
}

void AsyncProxy::prepare() {
    // As the block began.
    if (copy_.empty()) copy_.assign(block_.options().shared_bytes, static_cast<char>(kPoison));
}

void AsyncProxy::fence() {
    prepare();
    sanitizer::release(&copy_);
    if (++num_fences_ > kMaxExactFences)
        fence_owed_ = true;
    else
        copy_unchecked(copy_.data(), block_.shared(), copy_.size());
}

void AsyncProxy::wrote(const void* p, std::size_t bytes) {
    prepare();
    std::memcpy(copy_.data() + (static_cast<const char*>(p) - block_.shared()), p, bytes);
}

bool AsyncProxy::stale(const void* p, std::size_t bytes) {
    prepare();
    if (fence_owed_) copy_unchecked(copy_.data(), block_.shared(), copy_.size());
    fence_owed_ = false;
    return std::memcmp(copy_.data() + (static_cast<const char*>(p) - block_.shared()), p, bytes) != 0;
}

void AsyncProxy::writes(void* p, std::size_t bytes) {
    sanitizer::release(&writer_);
    writer_.run([&] {
        sanitizer::acquire(&writer_);
        sanitizer::written(p, bytes);
        sanitizer::release(&copy_);
    });
}

void AsyncProxy::reads(const void* p, std::size_t bytes) {
    reader_.run([&] {
        sanitizer::acquire(&copy_);
        sanitizer::read(p, bytes);
    });
}

void AsyncProxy::reads_done() {
    reader_.run([&] { sanitizer::release(&reader_); });
    sanitizer::acquire(&reader_);
}

}  // namespace pid::emu
