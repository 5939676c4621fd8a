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
void __tsan_func_entry(void* caller);
void __tsan_func_exit();
int __tsan_get_report_mop(void* report, unsigned long index, int* thread, void** address, int* size, int* write,
                          int* atomic, void** trace, unsigned long trace_size);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
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

#if defined(PID_EMU_ASAN) || defined(PID_EMU_TSAN)
// True after a report in the block that this OS thread runs, until take_report().
bool reported();
#endif

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
// Accesses that the core makes for the running thread; `caller`: where in the kernel it was called.
inline void read([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes,
                 [[maybe_unused]] void* caller = nullptr) {
#if defined(PID_EMU_TSAN)
    // One report ends the block: no more of them on the way there.
    if (reported()) return;
    __tsan_func_entry(caller);
    __tsan_read_range(const_cast<void*>(p), bytes);
    __tsan_func_exit();
#endif
}
inline void written([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes,
                    [[maybe_unused]] void* caller = nullptr) {
#if defined(PID_EMU_TSAN)
    // One report ends the block: no more of them on the way there.
    if (reported()) return;
    __tsan_func_entry(caller);
    __tsan_write_range(p, bytes);
    __tsan_func_exit();
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
inline void destroy_fiber([[maybe_unused]] void* fiber) {
#if defined(PID_EMU_TSAN)
    if (fiber) __tsan_destroy_fiber(fiber);
#endif
}
// In between, what the running thread does is not looked at.
inline void ignore_begin() {
#if defined(PID_EMU_TSAN)
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
}
inline void ignore_end() {
#if defined(PID_EMU_TSAN)
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

#if defined(PID_EMU_ASAN) || defined(PID_EMU_TSAN)
constexpr bool kEnabled = true;
// Once, before the first launch.
void start();
const char* take_report();
#else
constexpr bool kEnabled = false;
inline void start() {}
inline bool reported() { return false; }
inline const char* take_report() { return ""; }
#endif

}  // namespace pid::emu::sanitizer
