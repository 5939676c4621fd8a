// device: the intrinsics on a GPU. `volatile` and "memory" on everything that orders or moves shared memory.
#pragma once

#define PID_DEVICE __device__ __forceinline__
#define PID_UNROLL _Pragma("unroll")
#define PID_NO_UNROLL _Pragma("unroll 1")
// Where `...` is the kernel's KernelEntry: launch bounds are those that it declares.
#define PID_ENTRY_POINT(name, Params, attributes, ...)                                                       \
    using name##_params = Params;                                                                            \
    [[maybe_unused]] static constexpr KernelEntry name##_entry = __VA_ARGS__;                                \
    extern "C" __global__ void __launch_bounds__(name##_entry.threads, name##_entry.min_blocks) attributes   \
        name(const __grid_constant__ Params params)
#define PID_KERNEL(name, Params, ...) PID_ENTRY_POINT(name, Params, , __VA_ARGS__)
// The same in clusters of CTAs along x (at most 8), of which the grid is a multiple; sm_90, one CTA below.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define PID_CLUSTER_KERNEL(name, Params, ...) \
    PID_ENTRY_POINT(name, Params, __cluster_dims__(name##_entry.cluster, 1, 1), __VA_ARGS__)
#else
#define PID_CLUSTER_KERNEL(name, Params, ...) PID_ENTRY_POINT(name, Params, , __VA_ARGS__)
#endif
#define PID_FAULT(kernel, fault, ...)
// The block's dynamic shared memory as one struct.
#define PID_SHARED(Type, name)                                  \
    extern __shared__ __align__(1024) unsigned char pid_smem[]; \
    Type& name = *reinterpret_cast<Type*>(pid_smem)

PID_DEVICE std::uint32_t smem_address(const void* pointer) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Any thread: bits <-> value.
PID_DEVICE float bits_to_float(std::uint32_t bits) { return __uint_as_float(bits); }
PID_DEVICE std::uint32_t float_to_bits(float x) { return __float_as_uint(x); }
// Two floats to bf16, `low` in the low half; round to nearest even. sm_80.
PID_DEVICE std::uint32_t cvt_rn_bf16x2(float low, float high) {
    std::uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

// All threads of the block. Orders shared and global memory among them.
PID_DEVICE void syncthreads() { __syncthreads(); }
// Lanes of `mask`; orders memory among them.
PID_DEVICE void syncwarp(std::uint32_t mask = 0xffffffffu) { __syncwarp(mask); }
// bar.sync: kThreads threads (a multiple of 32) meet at barrier kId. A constant id keeps ptxas from reserving all 16.
template <int kId, int kThreads>
PID_DEVICE void bar_sync() {
    asm volatile("bar.sync %0, %1;" ::"n"(kId), "n"(kThreads) : "memory");
}
// bar.arrive: counts at barrier kId and goes on.
template <int kId, int kThreads>
PID_DEVICE void bar_arrive() {
    asm volatile("bar.arrive %0, %1;" ::"n"(kId), "n"(kThreads) : "memory");
}

// Value of lane `lane ^ xor_mask`; lanes of `mask`.
PID_DEVICE float shfl_xor_sync(std::uint32_t mask, float value, int xor_mask) {
    return __shfl_xor_sync(mask, value, xor_mask);
}
PID_DEVICE double shfl_xor_sync(std::uint32_t mask, double value, int xor_mask) {
    return __shfl_xor_sync(mask, value, xor_mask);
}
// One bit per lane whose predicate holds; lanes of `mask`.
PID_DEVICE std::uint32_t ballot_sync(std::uint32_t mask, bool predicate) { return __ballot_sync(mask, predicate); }

// cp.async.cg 16 bytes, global to shared, around L1; `source_bytes` (0 to 16) are read, the rest is zeros. Thread; in
// flight until its group is waited for. sm_80.
PID_DEVICE void cp_async_cg_16(void* smem, const void* global, std::uint32_t source_bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_address(smem)), "l"(global),
                 "r"(source_bytes)
                 : "memory");
}
// Ends the thread's current group of copies.
PID_DEVICE void cp_async_commit_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kPending of the thread's newest groups are in flight. Other threads' copies need a barrier after.
template <int kPending>
PID_DEVICE void cp_async_wait_group() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ldmatrix x4, warp: four 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
PID_DEVICE void ldmatrix_x4(std::uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(smem_address(row))
                 : "memory");
}
// The same, each matrix transposed.
PID_DEVICE void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(smem_address(row))
                 : "memory");
}

// d += a b, 16x8x16, bf16 in, f32 out; warp. sm_80.
PID_DEVICE void mma_m16n8k16_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// d += a b, 16x8x16, f16 in, f32 out; warp. sm_80.
PID_DEVICE void mma_m16n8k16_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// 2^x, 1 / x, 1 / sqrt(x), approximate (2 ulp, 1 ulp, 2 ulp).
PID_DEVICE float ex2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
PID_DEVICE float rcp_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
PID_DEVICE float rsqrt_approx(float x) {
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#include "hopper_device.cuh"
