// sanitizer: what the emulator tells AddressSanitizer and ThreadSanitizer. The core itself is not instrumented; the
// kernels are. Nothing of this exists in the ordinary build.
#pragma once
#include <cstddef>

#if defined(PID_EMU_ASAN)
#include <sanitizer/asan_interface.h>
#endif
#if defined(PID_EMU_TSAN)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long bytes);
void __tsan_write_range(void* address, unsigned long bytes);
void AnnotateNewMemory(const char* file, int line, const volatile void* address, long bytes);
}
#endif

namespace pid::emu::sanitizer {

// The next accesses to these bytes are faults.
inline void poison([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(PID_EMU_ASAN)
    __asan_poison_memory_region(p, bytes);
#endif
}
inline void unpoison([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(PID_EMU_ASAN)
    __asan_unpoison_memory_region(p, bytes);
#endif
}
// True when some of the bytes are poisoned: for accesses that the core makes on a kernel's behalf.
inline bool poisoned([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(PID_EMU_ASAN)
    return __asan_region_is_poisoned(const_cast<void*>(p), bytes) != nullptr;
#else
    return false;
#endif
}

// Edges of "happens before" between fibers; switching alone makes none.
inline void release([[maybe_unused]] void* address) {
#if defined(PID_EMU_TSAN)
    __tsan_release(address);
#endif
}
inline void acquire([[maybe_unused]] void* address) {
#if defined(PID_EMU_TSAN)
    __tsan_acquire(address);
#endif
}
// Accesses that the core makes for the running thread.
inline void read([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(PID_EMU_TSAN)
    __tsan_read_range(const_cast<void*>(p), bytes);
#endif
}
inline void written([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(PID_EMU_TSAN)
    __tsan_write_range(p, bytes);
#endif
}
// Clocks that are not a thread's: the asynchronous proxy's.
inline void* current_fiber() {
#if defined(PID_EMU_TSAN)
    return __tsan_get_current_fiber();
#else
    return nullptr;
#endif
}
inline void* create_fiber() {
#if defined(PID_EMU_TSAN)
    return __tsan_create_fiber(0);
#else
    return nullptr;
#endif
}
inline void switch_clock([[maybe_unused]] void* fiber) {
#if defined(PID_EMU_TSAN)
    __tsan_switch_to_fiber(fiber, 1);
#endif
}
// A block starts with memory that no earlier block has touched.
inline void forget([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) {
#if defined(PID_EMU_TSAN)
    AnnotateNewMemory(__FILE__, __LINE__, p, static_cast<long>(bytes));
#endif
}

}  // namespace pid::emu::sanitizer
