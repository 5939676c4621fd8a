// launch: the emulator's C interface. Launches are synchronous; blocks run on a pool of OS threads that stays.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../entry.h"

extern "C" {

struct PidEmuLaunch {
    const char* kernel;
    std::uint32_t grid[3];
    std::uint32_t block[3];
    std::uint32_t shared_bytes;
    std::uint32_t schedule;  // pid::emu::Schedule
    std::uint64_t seed;
    const void* params;
    std::uint64_t params_bytes;
};

// 0 on success; else 1 and a message in `error`.
int pid_emu_launch(const PidEmuLaunch* launch, char* error, std::size_t error_bytes);

// "Device" memory filled with NaN, 1 MiB of unmapped memory before it and behind its end; 16-byte aligned. Null when there
// is none.
void* pid_emu_allocate(std::size_t bytes);
void pid_emu_free(void* pointer, std::size_t bytes);

static_assert(sizeof(KernelEntry) == 104, "src/backend/emulator/ffi.rs has its layout");

// A kernel of the registry. All pointers live as long as the process.
struct PidEmuKernel {
    const char* name;
    const char* fault_of;  // the kernel that it is a faulty copy of, else null
    std::uint64_t params_bytes;
    const KernelEntry* entry;
};

// 1, and kernel `index` in `kernel`; 0 past the last.
int pid_emu_kernel(std::size_t index, PidEmuKernel* kernel);
}
