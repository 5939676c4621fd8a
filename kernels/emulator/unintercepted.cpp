#if defined(PID_EMU_ASAN) || defined(PID_EMU_TSAN)
#include <cstdint>
#include <cstdlib>
#include <new>

#include "sanitizer.hpp"

namespace {
// Keeps the compiler from making a call of memcpy out of the loop that is memcpy.
inline void keep_loop() { asm volatile("" ::: "memory"); }

void copy_up(char* to, const char* from, std::size_t bytes) {
    for (; bytes >= 8; bytes -= 8, to += 8, from += 8) {
        std::uint64_t word;
        __builtin_memcpy(&word, from, 8);
        keep_loop();
        __builtin_memcpy(to, &word, 8);
    }
    for (; bytes > 0; --bytes) {
        *to++ = *from++;
        keep_loop();
    }
}
}  // namespace

void* memcpy(void* to, const void* from, std::size_t bytes) noexcept {
    copy_up(static_cast<char*>(to), static_cast<const char*>(from), bytes);
    return to;
}

void* memmove(void* to, const void* from, std::size_t bytes) noexcept {
    auto* t = static_cast<char*>(to);
    const auto* f = static_cast<const char*>(from);
    if (t <= f || t >= f + bytes) {
        copy_up(t, f, bytes);
        return to;
    }
    while (bytes > 0) {
        --bytes;
        t[bytes] = f[bytes];
        keep_loop();
    }
    return to;
}

void* memset(void* to, int value, std::size_t bytes) noexcept {
    auto* t = static_cast<char*>(to);
    const std::uint64_t word = 0x0101010101010101u * static_cast<unsigned char>(value);
    for (; bytes >= 8; bytes -= 8, t += 8) {
        __builtin_memcpy(t, &word, 8);
        keep_loop();
    }
    for (; bytes > 0; --bytes) {
        *t++ = static_cast<char>(value);
        keep_loop();
    }
    return to;
}

int memcmp(const void* a, const void* b, std::size_t bytes) noexcept {
    const auto* x = static_cast<const unsigned char*>(a);
    const auto* y = static_cast<const unsigned char*>(b);
    for (std::size_t i = 0; i < bytes; ++i) {
        if (x[i] != y[i]) return x[i] - y[i];
        keep_loop();
    }
    return 0;
}

#if defined(PID_EMU_TSAN)
// The core's own containers grow in the name of whichever thread runs, which is no race: ThreadSanitizer takes no
// notice of these allocations. Nothing else in the process is C++.
void* operator new(std::size_t bytes) {
    pid::emu::sanitizer::ignore_begin();
    void* memory = std::malloc(bytes ? bytes : 1);
    pid::emu::sanitizer::ignore_end();
    if (!memory) throw std::bad_alloc();
    return memory;
}
void operator delete(void* memory) noexcept {
    pid::emu::sanitizer::ignore_begin();
    std::free(memory);
    pid::emu::sanitizer::ignore_end();
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void operator delete[](void* memory) noexcept { operator delete(memory); }
void operator delete[](void* memory, std::size_t) noexcept { operator delete(memory); }
#endif
#endif
