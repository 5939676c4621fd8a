// kernel: what a kernel sees of the emulator. host.cuh gives these the names of the intrinsics.
//   Plain declarations, nothing of the standard library: sanitizers instrument the kernels and not the core, and of a
//   template that both instantiate the linker keeps either copy.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../entry.h"

namespace pid::emu {

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
    unsigned count() const { return x * y * z; }
};

// Where in a kernel something was called, for messages.
struct Site {
    const char* file;
    int line;

    // As a default argument: the place of the call. Site{...} there would be the place of the declaration.
    static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

// Of the running thread and of its block: what kernels read without a call.
struct ThreadPlace {
    Dim3 index;
    unsigned linear = 0;
};
struct BlockPlace {
    Dim3 index, block, grid;
    unsigned rank = 0, cluster = 1;  // in the cluster, and CTAs of it
};
// Set by the scheduler; null outside of a launch. Not thread_local: that would cost a call for each use.
extern __thread const ThreadPlace* g_thread;
extern __thread const BlockPlace* g_block;

// A kernel in the table of kernels, put there before main() by PID_KERNEL, PID_CLUSTER_KERNEL or PID_FAULT.
using KernelBody = void (*)(const void* params);
struct Registration {
    Registration(const char* name, const char* fault_of, std::size_t params_bytes, const KernelEntry& entry, KernelBody body);
    const char* name;
    const char* fault_of;  // the kernel that it is a faulty copy of, else null
    std::size_t params_bytes;
    const KernelEntry& entry;
    KernelBody body;
    const Registration* next;
};

// Shared memory as a T; fails when the launch asked for less.
void* shared_memory(std::size_t bytes, Site site);
template <class T>
T& shared_as(Site site) {
    return *static_cast<T*>(shared_memory(sizeof(T), site));
}

void sync_threads(Site site);
void sync_warp(unsigned mask, Site site);
// bar.sync and bar.arrive: `count` threads at barrier `id`.
void barrier_sync(unsigned id, unsigned count, Site site);
void barrier_arrive(unsigned id, unsigned count, Site site);

// Value of lane `source` (each lane names its own); 4 bytes.
std::uint32_t shuffle(unsigned mask, std::uint32_t value, unsigned source, Site site);
unsigned ballot(unsigned mask, bool predicate, Site site);

void cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes, Site site);
void cp_async_commit();
void cp_async_wait(unsigned pending);

// One 16-byte row address per lane; r[i] is this lane's fragment of matrix i.
void ldmatrix_x4(std::uint32_t* r, const void* row, bool transposed, Site site);
void stmatrix_x4(const std::uint32_t* r, void* row, Site site);

// d += a b; fragments as the PTX manual lays them out for m16n8k16 (bf16 or f16 in, f32 out).
void mma_m16n8k16(float* d, const std::uint32_t* a, const std::uint32_t* b, bool is_half, Site site);
// The same for m16n8k32, e4m3 in.
void mma_m16n8k32_e4m3(float* d, const std::uint32_t* a, const std::uint32_t* b, Site site);

float e4m3_to_float(std::uint8_t bits);
float half_to_float(std::uint16_t bits);
inline float bf16_bits_to_float(std::uint16_t bits) {
    const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
    float value;
    __builtin_memcpy(&value, &wide, sizeof value);
    return value;
}

}  // namespace pid::emu
