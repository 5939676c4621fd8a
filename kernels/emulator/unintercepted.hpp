// unintercepted: included before all else in the core's files of a sanitizer build (build/emulator.rs).
//   The core copies memory that a kernel may not touch, or not yet, and in the name of no CUDA thread. The sanitizers
//   replace the C library's functions by their own, which check; so the core calls these others.
#pragma once
#include <stddef.h>

extern "C" {
void* memcpy(void* to, const void* from, size_t bytes) noexcept __asm__("pid_emu_memcpy");
void* memmove(void* to, const void* from, size_t bytes) noexcept __asm__("pid_emu_memmove");
void* memset(void* to, int value, size_t bytes) noexcept __asm__("pid_emu_memset");
int memcmp(const void* a, const void* b, size_t bytes) noexcept __asm__("pid_emu_memcmp");
}
