// host: the intrinsics on the emulator. Collectives meet; asynchronous copies land late, poisoned until then.
#pragma once
#include <cmath>
#include <cstring>

#include "../emulator/kernel.hpp"

#define PID_DEVICE inline
#define PID_UNROLL
#define PID_NO_UNROLL
// What is compiled of a file (build/emulator.rs): all of it, PID_WITHOUT_FAULTS the kernels, PID_FAULTS_ALONE what PID_FAULT
// registers. `body` is called as body(params). `base`: the kernel that a fault is one of, else null.
#define PID_REGISTER(name, kernel, base, ...)                                                             \
    static const ::pid::emu::Registration name##_registration(                                            \
        #name, base, sizeof(kernel##_params), kernel##_entry,                                             \
        [](const void* p) { __VA_ARGS__(*static_cast<const kernel##_params*>(p)); });
#define PID_ENTRY_POINT(name, Params, in_clusters, ...)                                                   \
    using name##_params = Params;                                                                         \
    [[maybe_unused]] static constexpr KernelEntry name##_entry = __VA_ARGS__;                             \
    static_assert(name##_entry.cluster >= 1 && name##_entry.cluster <= 8,                                 \
                  #name ": a card gives clusters of 1 to 8 CTAs without asking");                         \
    static_assert(in_clusters == (name##_entry.cluster > 1), #name ": PID_CLUSTER_KERNEL is for clusters");
#ifdef PID_FAULTS_ALONE
#define PID_DEFINE_KERNEL(name, Params, in_clusters, ...)   \
    PID_ENTRY_POINT(name, Params, in_clusters, __VA_ARGS__) \
    [[maybe_unused]] static void name##_body([[maybe_unused]] const Params& params)
#else
#define PID_DEFINE_KERNEL(name, Params, in_clusters, ...)   \
    PID_ENTRY_POINT(name, Params, in_clusters, __VA_ARGS__) \
    static void name##_body(const Params& params);          \
    PID_REGISTER(name, name, nullptr, name##_body)          \
    static void name##_body([[maybe_unused]] const Params& params)
#endif
#define PID_KERNEL(name, Params, ...) PID_DEFINE_KERNEL(name, Params, false, __VA_ARGS__)
#define PID_CLUSTER_KERNEL(name, Params, ...) PID_DEFINE_KERNEL(name, Params, true, __VA_ARGS__)
// Registers `kernel`_`fault`: `kernel` with another body.
#ifdef PID_WITHOUT_FAULTS
#define PID_FAULT(kernel, fault, ...)
#else
#define PID_FAULT(kernel, fault, ...) PID_REGISTER(kernel##_##fault, kernel, #kernel, __VA_ARGS__)
#endif
#define PID_SHARED(Type, name) Type& name = ::pid::emu::shared_as<Type>(::pid::emu::Site{__FILE__, __LINE__})
// Calls carry the place they stand at; the parameter is last and fills itself in.
#define PID_HERE ::pid::emu::Site site = ::pid::emu::Site::here()

#define threadIdx (::pid::emu::g_thread->index)
#define blockIdx (::pid::emu::g_block->index)
#define blockDim (::pid::emu::g_block->block)
#define gridDim (::pid::emu::g_block->grid)

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    std::uint32_t x, y;
};
struct alignas(16) uint4 {
    std::uint32_t x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(std::uint32_t x, std::uint32_t y) { return {x, y}; }
inline uint4 make_uint4(std::uint32_t x, std::uint32_t y, std::uint32_t z, std::uint32_t w) { return {x, y, z, w}; }

inline float bits_to_float(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline std::uint32_t float_to_bits(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline std::uint32_t cvt_rn_bf16x2(float low, float high) {
    const auto round = [](float x) -> std::uint32_t {
        const std::uint32_t bits = float_to_bits(x);
        if (x != x) return 0x7fff;
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    };
    return round(low) | round(high) << 16;
}

inline void syncthreads(PID_HERE) { pid::emu::sync_threads(site); }
inline void syncwarp(std::uint32_t mask = 0xffffffffu, PID_HERE) { pid::emu::sync_warp(mask, site); }
template <int kId, int kThreads>
inline void bar_sync(PID_HERE) {
    pid::emu::barrier_sync(kId, kThreads, site);
}
template <int kId, int kThreads>
inline void bar_arrive(PID_HERE) {
    pid::emu::barrier_arrive(kId, kThreads, site);
}

inline float shfl_xor_sync(std::uint32_t mask, float value, int xor_mask, PID_HERE) {
    const unsigned source = pid::emu::g_thread->linear ^ static_cast<unsigned>(xor_mask);
    return bits_to_float(pid::emu::shuffle(mask, float_to_bits(value), source, site));
}
inline double shfl_xor_sync(std::uint32_t mask, double value, int xor_mask, PID_HERE) {
    const unsigned source = pid::emu::g_thread->linear ^ static_cast<unsigned>(xor_mask);
    std::uint32_t words[2];
    std::memcpy(words, &value, sizeof value);
    for (std::uint32_t& word : words) word = pid::emu::shuffle(mask, word, source, site);
    std::memcpy(&value, words, sizeof value);
    return value;
}
inline std::uint32_t ballot_sync(std::uint32_t mask, bool predicate, PID_HERE) {
    return pid::emu::ballot(mask, predicate, site);
}
inline void cp_async_cg_16(void* smem, const void* global, std::uint32_t source_bytes = 16, PID_HERE) {
    pid::emu::cp_async(smem, global, 16, source_bytes, site);
}
inline void cp_async_commit_group() { pid::emu::cp_async_commit(); }
template <int kPending>
inline void cp_async_wait_group() {
    pid::emu::cp_async_wait(kPending);
}

inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row, PID_HERE) {
    pid::emu::ldmatrix_x4(r, row, false, site);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row, PID_HERE) {
    pid::emu::ldmatrix_x4(r, row, true, site);
}
inline void mma_m16n8k16_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], PID_HERE) {
    pid::emu::mma_m16n8k16(d, a, b, false, site);
}
inline void mma_m16n8k16_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], PID_HERE) {
    pid::emu::mma_m16n8k16(d, a, b, true, site);
}

// .ftz: subnormal operands and results are zeros of their sign.
inline float flush_subnormal(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
inline float ex2_approx(float x) { return flush_subnormal(std::exp2(flush_subnormal(x))); }
inline float rcp_approx(float x) { return flush_subnormal(1.0f / flush_subnormal(x)); }
inline float rsqrt_approx(float x) { return 1.0f / std::sqrt(flush_subnormal(x)); }

#include "hopper_host.cuh"
