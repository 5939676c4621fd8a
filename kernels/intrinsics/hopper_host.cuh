// hopper_host: the sm_90 intrinsics on the emulator. hopper_device.cuh says what each one does.
#pragma once
#include "../emulator/kernel_hopper.hpp"
#include "../tensor_map.h"

enum class WgmmaSwizzle : unsigned { none = 0, bytes_128 = 1 };

inline void mbarrier_init(std::uint64_t* bar, std::uint32_t count, PID_HERE) {
    pid::emu::mbarrier_init(bar, count, site);
}
inline void mbarrier_inval(std::uint64_t* bar, PID_HERE) { pid::emu::mbarrier_inval(bar, site); }
inline void mbarrier_arrive(std::uint64_t* bar, PID_HERE) {
    pid::emu::mbarrier_arrive(bar, 0, site);
}
inline void mbarrier_arrive_expect_tx(std::uint64_t* bar, std::uint32_t bytes, PID_HERE) {
    pid::emu::mbarrier_arrive(bar, bytes, site);
}
inline bool mbarrier_try_wait_parity(std::uint64_t* bar, std::uint32_t parity, PID_HERE) {
    return pid::emu::mbarrier_try_wait(bar, parity, site);
}
inline void mbarrier_wait_parity(std::uint64_t* bar, std::uint32_t parity, PID_HERE) {
    pid::emu::mbarrier_wait(bar, parity, site);
}
inline void fence_mbarrier_init_release_cluster() { pid::emu::fence_mbarrier_init(); }
inline void fence_proxy_async() { pid::emu::fence_proxy_async(); }

inline std::uint32_t cluster_ctarank() { return pid::emu::g_block->rank; }
inline void barrier_cluster_arrive_release(PID_HERE) { pid::emu::cluster_arrive(site); }
inline void barrier_cluster_wait_acquire(PID_HERE) { pid::emu::cluster_wait(site); }
inline void mbarrier_arrive_cluster(std::uint64_t* bar, std::uint32_t cta, PID_HERE) {
    pid::emu::mbarrier_arrive_cluster(bar, cta, site);
}

inline void prefetch_tensormap(const PidTensorMap*) {}
inline void cp_async_bulk_shared_global(void* smem, const void* global, std::uint32_t bytes, std::uint64_t* bar,
                                        PID_HERE) {
    pid::emu::tma_load_bytes(smem, global, bytes, bar, site);
}
inline void cp_async_bulk_tensor_2d_shared_global(void* smem, const PidTensorMap* map, std::uint64_t* bar, int c0, int c1,
                                                  PID_HERE) {
    const int coordinates[] = {c0, c1};
    pid::emu::tma_load_tensor(smem, map, bar, coordinates, 2, site);
}
inline void cp_async_bulk_tensor_3d_shared_global(void* smem, const PidTensorMap* map, std::uint64_t* bar, int c0, int c1,
                                                  int c2, PID_HERE) {
    const int coordinates[] = {c0, c1, c2};
    pid::emu::tma_load_tensor(smem, map, bar, coordinates, 3, site);
}
inline void cp_async_bulk_tensor_4d_shared_global(void* smem, const PidTensorMap* map, std::uint64_t* bar, int c0, int c1,
                                                  int c2, int c3, PID_HERE) {
    const int coordinates[] = {c0, c1, c2, c3};
    pid::emu::tma_load_tensor(smem, map, bar, coordinates, 4, site);
}
inline void cp_async_bulk_tensor_2d_shared_global_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar,
                                                            std::uint16_t mask, int c0, int c1, PID_HERE) {
    const int coordinates[] = {c0, c1};
    pid::emu::tma_load_multicast(smem, map, bar, mask, coordinates, 2, site);
}
inline void cp_async_bulk_tensor_3d_shared_global_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar,
                                                            std::uint16_t mask, int c0, int c1, int c2, PID_HERE) {
    const int coordinates[] = {c0, c1, c2};
    pid::emu::tma_load_multicast(smem, map, bar, mask, coordinates, 3, site);
}
inline void cp_async_bulk_tensor_2d_global_shared(const PidTensorMap* map, const void* smem, int c0, int c1, PID_HERE) {
    const int coordinates[] = {c0, c1};
    pid::emu::tma_store_tensor(map, smem, coordinates, 2, site);
}
inline void cp_async_bulk_tensor_3d_global_shared(const PidTensorMap* map, const void* smem, int c0, int c1, int c2,
                                                  PID_HERE) {
    const int coordinates[] = {c0, c1, c2};
    pid::emu::tma_store_tensor(map, smem, coordinates, 3, site);
}
inline void cp_async_bulk_commit_group() { pid::emu::tma_commit_stores(); }
template <int kPending>
inline void cp_async_bulk_wait_group() {
    pid::emu::tma_wait_stores(kPending, false);
}
template <int kPending>
inline void cp_async_bulk_wait_group_read() {
    pid::emu::tma_wait_stores(kPending, true);
}

inline void stmatrix_x4(void* row, const std::uint32_t (&r)[4], PID_HERE) {
    pid::emu::stmatrix_x4(r, row, site);
}

template <int kRegisters>
inline void setmaxnreg_inc() {
    static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 256, "setmaxnreg: 24 to 256, by 8");
}
template <int kRegisters>
inline void setmaxnreg_dec() {
    setmaxnreg_inc<kRegisters>();
}
inline bool elect_one_sync(std::uint32_t mask = 0xffffffffu, PID_HERE) { return pid::emu::elect_one(mask, site); }

inline std::uint64_t wgmma_descriptor(const void* smem, std::uint32_t leading_bytes, std::uint32_t stride_bytes,
                                      WgmmaSwizzle swizzle, PID_HERE) {
    return pid::emu::matrix_descriptor(smem, leading_bytes, stride_bytes, static_cast<unsigned>(swizzle), site);
}
inline void wgmma_commit_group(PID_HERE) { pid::emu::wgmma_commit(site); }

// Written out by their number of accumulators: a parameter pack cannot stand before the default argument.
inline void wgmma_fence(PID_HERE) { pid::emu::wgmma_fence(site); }
template <int kA>
inline void wgmma_fence(float (&)[kA], PID_HERE) {
    pid::emu::wgmma_fence(site);
}
template <int kA, int kB>
inline void wgmma_fence(float (&)[kA], float (&)[kB], PID_HERE) {
    pid::emu::wgmma_fence(site);
}
template <int kA, int kB, int kC>
inline void wgmma_fence(float (&)[kA], float (&)[kB], float (&)[kC], PID_HERE) {
    pid::emu::wgmma_fence(site);
}
template <int kA, int kSteps>
inline void wgmma_fence(float (&)[kA], std::uint32_t (&)[kSteps][4], PID_HERE) {
    pid::emu::wgmma_fence(site);
}
template <int kPending>
inline void wgmma_wait_group(PID_HERE) {
    pid::emu::wgmma_wait(kPending, nullptr, 0, site);
}
template <int kPending, int kA>
inline void wgmma_wait_group(float (&a)[kA], PID_HERE) {
    float* const named[] = {a};
    pid::emu::wgmma_wait(kPending, named, 1, site);
}
template <int kPending, int kA, int kB>
inline void wgmma_wait_group(float (&a)[kA], float (&b)[kB], PID_HERE) {
    float* const named[] = {a, b};
    pid::emu::wgmma_wait(kPending, named, 2, site);
}
template <int kPending, int kA, int kB, int kC>
inline void wgmma_wait_group(float (&a)[kA], float (&b)[kB], float (&c)[kC], PID_HERE) {
    float* const named[] = {a, b, c};
    pid::emu::wgmma_wait(kPending, named, 3, site);
}

template <int kN, bool kTransposeB = false>
inline void wgmma_m64nNk16_bf16(float (&d)[kN / 2], std::uint64_t a, std::uint64_t b, bool scale_d, PID_HERE) {
    static_assert(kN % 8 == 0 && kN >= 8 && kN <= 256, "wgmma: N is a multiple of 8 up to 256");
    pid::emu::wgmma_issue({kN, kTransposeB, scale_d, d, nullptr, a, b}, site);
}
template <int kN, bool kTransposeB = false>
inline void wgmma_m64nNk16_bf16(float (&d)[kN / 2], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d, PID_HERE) {
    static_assert(kN % 8 == 0 && kN >= 8 && kN <= 256, "wgmma: N is a multiple of 8 up to 256");
    pid::emu::wgmma_issue({kN, kTransposeB, scale_d, d, a, 0, b}, site);
}
