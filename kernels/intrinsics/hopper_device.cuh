// hopper_device: what sm_90 adds, on a GPU. "sm_90" runs from there on; "sm_90a" on that architecture alone, and
// anywhere else it traps. The host twin is hopper_host.cuh.
#pragma once
#include "../tensor_map.h"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define PID_SM90(...) __VA_ARGS__
#else
#define PID_SM90(...) __trap()
#endif
// Multicast goes one by one on sm_120, and ptxas warns of it: trap there as well.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1200
#define PID_MULTICAST(...) __VA_ARGS__
#else
#define PID_MULTICAST(...) __trap()
#endif
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || (defined(__CUDA_ARCH_SPECIFIC__) && __CUDA_ARCH_SPECIFIC__ == 900)
#define PID_HAS_SM90A 1
#define PID_SM90A(...) __VA_ARGS__
#else
#define PID_HAS_SM90A 0
#define PID_SM90A(...) __trap()
#endif

// ---- mbarrier: `bar` is 8 bytes of shared memory, touched by nothing else between init and inval.

// Thread: a barrier of `count` arrivals a phase. Others use it after fence_mbarrier_init_release_cluster and syncthreads.
PID_DEVICE void mbarrier_init(std::uint64_t* bar, std::uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_address(bar)), "r"(count) : "memory");
}
// Thread: the 8 bytes are ordinary memory again. sm_80.
PID_DEVICE void mbarrier_inval(std::uint64_t* bar) {
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(smem_address(bar)) : "memory");
}
// Thread: one arrival. Releases the thread's memory to those that wait. sm_80.
PID_DEVICE void mbarrier_arrive(std::uint64_t* bar) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [%0]; }" ::"r"(smem_address(bar)) : "memory");
}
// Thread: the phase also waits for `bytes` of bulk copies; then one arrival, which releases. sm_90.
PID_DEVICE void mbarrier_arrive_expect_tx(std::uint64_t* bar, std::uint32_t bytes) {
    PID_SM90(asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1; }" ::"r"(
                              smem_address(bar)),
                          "r"(bytes)
                          : "memory"));
}
// Thread: true once the phase of this parity is complete; may sleep a while. True acquires. sm_90.
PID_DEVICE bool mbarrier_try_wait_parity(std::uint64_t* bar, std::uint32_t parity) {
    std::uint32_t done = 0;
    PID_SM90(asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                          : "=r"(done)
                          : "r"(smem_address(bar)), "r"(parity)
                          : "memory"));
    return done != 0;
}
// Thread: until the phase of this parity is complete. Acquires. sm_90.
PID_DEVICE void mbarrier_wait_parity(std::uint64_t* bar, std::uint32_t parity) {
    while (!mbarrier_try_wait_parity(bar, parity)) {
    }
}
// The thread that initialised: its barriers are visible to bulk copies and the cluster. Before syncthreads. sm_90.
PID_DEVICE void fence_mbarrier_init_release_cluster() {
    PID_SM90(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"));
}
// Every thread that wrote shared memory which a bulk store or wgmma is to read: after the stores, before the barrier that
// tells the issuer. sm_90.
PID_DEVICE void fence_proxy_async() { PID_SM90(asm volatile("fence.proxy.async.shared::cta;" ::: "memory")); }

// ---- clusters: CTAs of one PID_CLUSTER_KERNEL that are on one GPC at the same time; one CTA where there is none.

// Any thread: its CTA's rank in the cluster. sm_90.
PID_DEVICE std::uint32_t cluster_ctarank() {
    std::uint32_t rank = 0;
    PID_SM90(asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank)));
    return rank;
}
// All threads of all CTAs, warps whole: counts at the cluster's barrier and goes on; each waits before it arrives again.
// Releases. sm_90.
PID_DEVICE void barrier_cluster_arrive_release() {
    PID_SM90(asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"));
}
// The same threads: until all that have not exited have arrived. Acquires. sm_90.
PID_DEVICE void barrier_cluster_wait_acquire() {
    PID_SM90(asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"));
}
// Thread: one arrival at the barrier at the offset of `bar` in CTA `cta`, which has not exited. For telling it that the
// thread has read what lies there: what the thread wrote is released to its own CTA alone. (.release.cluster would cost a
// MEMBAR.ALL.GPU each time, the acquire that belongs to it all of L1.) sm_90.
PID_DEVICE void mbarrier_arrive_cluster(std::uint64_t* bar, std::uint32_t cta) {
    PID_SM90(asm volatile("{ .reg .b32 remote; mapa.shared::cluster.u32 remote, %0, %1; "
                          "mbarrier.arrive.shared::cluster.b64 _, [remote]; }" ::"r"(smem_address(bar)),
                          "r"(cta)
                          : "memory"));
}

// ---- bulk copies (TMA). Coordinates are elements, innermost first; outside of the tensor loads give 0, stores nothing.
// `map` lies in the kernel's __grid_constant__ parameters. smem is 128-byte aligned, 1024 with the 128-byte swizzle.
// NOTE: the innermost coordinate must be a multiple of 16 bytes, negative ones too, and those of a store must not be negative;
// else the GPU stops with an illegal instruction.

// Thread: brings the descriptor into its cache. sm_90.
PID_DEVICE void prefetch_tensormap(const PidTensorMap* map) {
    PID_SM90(asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"));
}
// One thread: `bytes` (a multiple of 16, both addresses too) to shared memory, counted at `bar` as they land. sm_90.
PID_DEVICE void cp_async_bulk_shared_global(void* smem, const void* global, std::uint32_t bytes, std::uint64_t* bar) {
    PID_SM90(asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                              smem_address(smem)),
                          "l"(global), "r"(bytes), "r"(smem_address(bar))
                          : "memory"));
}
// One thread: one box to shared memory, counted at `bar` in full, zeros included. Ordered by bar alone. sm_90.
PID_DEVICE void cp_async_bulk_tensor_2d_shared_global(void* smem, const PidTensorMap* map, std::uint64_t* bar, int c0,
                                                      int c1) {
    PID_SM90(asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                          "[%0], [%1, {%3, %4}], [%2];" ::"r"(smem_address(smem)),
                          "l"(map), "r"(smem_address(bar)), "r"(c0), "r"(c1)
                          : "memory"));
}
PID_DEVICE void cp_async_bulk_tensor_3d_shared_global(void* smem, const PidTensorMap* map, std::uint64_t* bar, int c0,
                                                      int c1, int c2) {
    PID_SM90(asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                          "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(smem_address(smem)),
                          "l"(map), "r"(smem_address(bar)), "r"(c0), "r"(c1), "r"(c2)
                          : "memory"));
}
PID_DEVICE void cp_async_bulk_tensor_4d_shared_global(void* smem, const PidTensorMap* map, std::uint64_t* bar, int c0,
                                                      int c1, int c2, int c3) {
    PID_SM90(asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                          "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(smem_address(smem)),
                          "l"(map), "r"(smem_address(bar)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                          : "memory"));
}
// One thread: one box to the same offset in each CTA of the cluster whose bit (by rank) is in `mask`, counted in full in
// each at the barrier at the offset of `bar`. They have initialised it (cluster barrier) and stay until the data has
// landed. sm_90 to sm_11x.
PID_DEVICE void cp_async_bulk_tensor_2d_shared_global_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar,
                                                                std::uint16_t mask, int c0, int c1) {
    PID_MULTICAST(asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                               ".multicast::cluster [%0], [%1, {%4, %5}], [%2], %3;" ::"r"(smem_address(smem)),
                               "l"(map), "r"(smem_address(bar)), "h"(mask), "r"(c0), "r"(c1)
                               : "memory"));
}
PID_DEVICE void cp_async_bulk_tensor_3d_shared_global_multicast(void* smem, const PidTensorMap* map, std::uint64_t* bar,
                                                                std::uint16_t mask, int c0, int c1, int c2) {
    PID_MULTICAST(asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
                               ".multicast::cluster [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(smem_address(smem)),
                               "l"(map), "r"(smem_address(bar)), "h"(mask), "r"(c0), "r"(c1), "r"(c2)
                               : "memory"));
}
// One thread: one box to global memory. Shared memory was fenced by its writers (fence_proxy_async); it may be written
// again after cp_async_bulk_wait_group_read by the same thread. sm_90.
PID_DEVICE void cp_async_bulk_tensor_2d_global_shared(const PidTensorMap* map, const void* smem, int c0, int c1) {
    PID_SM90(asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(map),
                          "r"(smem_address(smem)), "r"(c0), "r"(c1)
                          : "memory"));
}
PID_DEVICE void cp_async_bulk_tensor_3d_global_shared(const PidTensorMap* map, const void* smem, int c0, int c1, int c2) {
    PID_SM90(asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
                          "r"(smem_address(smem)), "r"(c0), "r"(c1), "r"(c2)
                          : "memory"));
}
// Thread: ends its current group of bulk stores. sm_90.
PID_DEVICE void cp_async_bulk_commit_group() { PID_SM90(asm volatile("cp.async.bulk.commit_group;" ::: "memory")); }
// Thread: at most kPending of its newest groups are unfinished; the others are written. sm_90.
template <int kPending>
PID_DEVICE void cp_async_bulk_wait_group() {
    PID_SM90(asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory"));
}
// Thread: at most kPending of its newest groups still read shared memory. sm_90.
template <int kPending>
PID_DEVICE void cp_async_bulk_wait_group_read() {
    PID_SM90(asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory"));
}

// ---- stmatrix, x4; warp: four 8x8 matrices of 16-bit elements, register i of every lane is matrix i, in the layout of
// ldmatrix; lane i gives the address of row i % 8 of matrix i / 8. sm_90.
PID_DEVICE void stmatrix_x4(void* row, const std::uint32_t (&r)[4]) {
    PID_SM90(asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(smem_address(row)),
                          "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                          : "memory"));
}

// ---- registers and election

// Warpgroup, all four warps: raises, lowers, the registers of each of its threads. No memory is ordered. sm_90a.
template <int kRegisters>
PID_DEVICE void setmaxnreg_inc() {
    PID_SM90A(asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters)));
}
template <int kRegisters>
PID_DEVICE void setmaxnreg_dec() {
    PID_SM90A(asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters)));
}
// Lanes of `mask`: true in one of them, always the same. sm_90.
PID_DEVICE bool elect_one_sync(std::uint32_t mask = 0xffffffffu) {
    std::uint32_t elected = 0;
    PID_SM90(asm volatile("{ .reg .pred p; elect.sync _|p, %1; selp.u32 %0, 1, 0, p; }" : "=r"(elected) : "r"(mask)));
    return elected != 0;
}

// ---- wgmma. Every function is called by all threads of all four warps of a warpgroup, each with the same descriptors.

enum class WgmmaSwizzle : unsigned { none = 0, bytes_128 = 1 };

// Any thread: where an operand lies. K-major without swizzle: 8 x 16-byte core matrices, `leading_bytes` apart along K and
// `stride_bytes` along M or N; with 128 bytes: rows of 64 elements, `stride_bytes` between groups of 8 rows. MN-major
// with 128 bytes: rows of 64 M or N, `leading_bytes` to the next 64, `stride_bytes` between groups of 8 K.
PID_DEVICE std::uint64_t wgmma_descriptor(const void* smem, std::uint32_t leading_bytes, std::uint32_t stride_bytes,
                                          WgmmaSwizzle swizzle) {
    return static_cast<std::uint64_t>((smem_address(smem) & 0x3ffff) >> 4) |
           static_cast<std::uint64_t>((leading_bytes & 0x3ffff) >> 4) << 16 |
           static_cast<std::uint64_t>((stride_bytes & 0x3ffff) >> 4) << 32 |
           static_cast<std::uint64_t>(static_cast<unsigned>(swizzle)) << 62;
}

// The compiler may neither keep these registers elsewhere across, nor move their reads and writes past this point.
template <int kCount>
PID_DEVICE void wgmma_pin(float (&d)[kCount]) {
    PID_UNROLL
    for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// The same of A fragments.
template <int kSteps>
PID_DEVICE void wgmma_pin(std::uint32_t (&a)[kSteps][4]) {
    PID_UNROLL
    for (int i = 0; i < 4 * kSteps; ++i) asm volatile("" : "+r"(a[i / 4][i % 4])::"memory");
}

// Orders earlier accesses to accumulators and A registers before the next wgmma: needed before the first one, and after
// registers were written. Names the accumulators that were touched. sm_90a.
template <int... kCounts>
PID_DEVICE void wgmma_fence(float (&... d)[kCounts]) {
    (wgmma_pin(d), ...);
    PID_SM90A(asm volatile("wgmma.fence.sync.aligned;" ::: "memory"));
}
// The same for A registers that were written since the last fence: none of the writes may sink past it.
template <int kCount, int kSteps>
PID_DEVICE void wgmma_fence(float (&d)[kCount], std::uint32_t (&a)[kSteps][4]) {
    wgmma_pin(a);
    wgmma_fence(d);
}
// Ends the warpgroup's current group of wgmma. sm_90a.
PID_DEVICE void wgmma_commit_group() { PID_SM90A(asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")); }
// Until at most kPending of the newest groups are in flight. Names every accumulator that becomes complete: only
// after it may be read. Operands in shared memory and A registers of the complete groups may be written. sm_90a.
template <int kPending, int... kCounts>
PID_DEVICE void wgmma_wait_group(float (&... d)[kCounts]) {
    PID_SM90A(asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory"));
    (wgmma_pin(d), ...);
}

#include "wgmma_device.cuh"

// d = a b, or d += a b with scale_d: 64 x kN x 16, bf16 in, f32 out; A and B in shared memory, A K-major, B [kN, 16] K-major
// or, transposed, [16, kN]. In flight until its group is waited for. sm_90a.
template <int kN, bool kTransposeB = false>
PID_DEVICE void wgmma_m64nNk16_bf16(float (&d)[kN / 2], std::uint64_t a, std::uint64_t b, bool scale_d) {
    Wgmma<kN>::template shared<kTransposeB>(d, a, b, scale_d);
}
// The same with A in registers: each warp its 16 rows, as the A fragment of mma.m16n8k16. They stay unwritten until the
// wait. sm_90a.
template <int kN, bool kTransposeB = false>
PID_DEVICE void wgmma_m64nNk16_bf16(float (&d)[kN / 2], const std::uint32_t (&a)[4], std::uint64_t b, bool scale_d) {
    Wgmma<kN>::template registers<kTransposeB>(d, a, b, scale_d);
}
