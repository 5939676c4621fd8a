// micro_wgmma: d = (c +) A B^T for A [64, 64], B [n, 64] by one warpgroup, in four products of K = 16. Grid 1, block 128,
// shared memory 8192 + 128 ceil(n / 64) 64 bytes. sm_90a.
//   Thread t, register r: row 16 (t / 32) + t % 32 / 4 + 8 (r / 2 % 2), column 8 (r / 4) + 2 (t % 4) + r % 2.
//   Inputs of small whole numbers give the same bits in any order of the sum.
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

namespace {

constexpr int kK = 64;
// A operand from shared memory with 128-byte swizzle, without swizzle, or from registers.
enum class A { swizzled, plain, registers };
// B operand K-major or MN-major, with 128-byte swizzle or without.
enum class B { k_swizzled, k_plain, mn_swizzled, mn_plain };

template <int kN>
struct alignas(1024) Smem {
    std::uint16_t a[64 * kK];
    std::uint16_t b[(kN + 63) / 64 * 64 * kK];
};

// Byte offsets of element (row, k). K-major with swizzle: rows of 64 elements (128 bytes), 16-byte chunks XOR row % 8.
PID_DEVICE int k_swizzled_offset(int row, int k) { return row * 128 + ((k / 8) ^ (row % 8)) * 16 + k % 8 * 2; }
// Without: 8 x 8 core matrices of 128 bytes, those along K next to each other.
PID_DEVICE int k_plain_offset(int row, int k) { return row / 8 * 1024 + k / 8 * 128 + row % 8 * 16 + k % 8 * 2; }
// MN-major with swizzle: 64 columns are one row of 128 bytes for each k.
PID_DEVICE int mn_swizzled_offset(int col, int k) {
    return col / 64 * 8192 + k * 128 + ((col % 64 / 8) ^ (k % 8)) * 16 + col % 8 * 2;
}
// Without: core matrices of 8 k x 8 columns.
PID_DEVICE int mn_plain_offset(int col, int k) { return col / 8 * 1024 + k / 8 * 128 + k % 8 * 16 + col % 8 * 2; }

template <B kB>
PID_DEVICE int b_offset(int col, int k) {
    if (kB == B::k_swizzled) return k_swizzled_offset(col, k);
    if (kB == B::k_plain) return k_plain_offset(col, k);
    if (kB == B::mn_swizzled) return mn_swizzled_offset(col, k);
    return mn_plain_offset(col, k);
}

template <int kN, A kA, B kB>
PID_DEVICE void fill(const PidMicroWgmmaParams& params, Smem<kN>& smem) {
    for (int i = static_cast<int>(threadIdx.x); i < 64 * kK; i += 128) {
        const int offset = kA == A::plain ? k_plain_offset(i / kK, i % kK) : k_swizzled_offset(i / kK, i % kK);
        smem.a[offset / 2] = params.a[i];
    }
    for (int i = static_cast<int>(threadIdx.x); i < kN * kK; i += 128)
        smem.b[b_offset<kB>(i / kK, i % kK) / 2] = params.b[i];
    fence_proxy_async();
    syncthreads();
}

// Where the 16 columns of step `step` begin.
template <int kN, A kA>
PID_DEVICE std::uint64_t a_descriptor(const Smem<kN>& smem, int step) {
    const char* a = reinterpret_cast<const char*>(smem.a);
    if (kA == A::plain) return wgmma_descriptor(a + step * 256, 128, 1024, WgmmaSwizzle::none);
    return wgmma_descriptor(a + step * 32, 16, 1024, WgmmaSwizzle::bytes_128);
}
template <int kN, B kB>
PID_DEVICE std::uint64_t b_descriptor(const Smem<kN>& smem, int step) {
    const char* b = reinterpret_cast<const char*>(smem.b);
    if (kB == B::k_swizzled) return wgmma_descriptor(b + step * 32, 16, 1024, WgmmaSwizzle::bytes_128);
    if (kB == B::mn_swizzled) return wgmma_descriptor(b + step * 2048, 8192, 1024, WgmmaSwizzle::bytes_128);
    return wgmma_descriptor(b + step * 256, 128, 1024, WgmmaSwizzle::none);
}

template <int kN, A kA, B kB>
PID_DEVICE void body(const PidMicroWgmmaParams& params) {
    constexpr bool kTransposeB = kB == B::mn_swizzled || kB == B::mn_plain;
    PID_SHARED(Smem<kN>, smem);
    fill<kN, kA, kB>(params, smem);
    const int t = static_cast<int>(threadIdx.x);
    std::uint32_t a[kK / 16][4];
    float d[kN / 2];
    PID_UNROLL
    for (int r = 0; r < kN / 2; ++r) d[r] = params.accumulate ? params.c[t * (kN / 2) + r] : 0.0f;
    // Register r: row t % 32 / 4 + 8 (r % 2) of the warp's 16, k = 2 (t % 4) + 8 (r / 2) and one more.
    PID_UNROLL
    for (int i = 0; i < kK / 4; ++i) {
        const int row = t / 32 * 16 + t % 32 / 4 + i % 2 * 8, k = i / 4 * 16 + t % 4 * 2 + i % 4 / 2 * 8;
        a[i / 4][i % 4] = params.a[row * kK + k] | static_cast<std::uint32_t>(params.a[row * kK + k + 1]) << 16;
    }
    wgmma_fence(d);
    PID_UNROLL
    for (int step = 0; step < kK / 16; ++step) {
        const bool scale_d = step > 0 || params.accumulate;
        if constexpr (kA == A::registers)
            wgmma_m64nNk16_bf16<kN, kTransposeB>(d, a[step], b_descriptor<kN, kB>(smem, step), scale_d);
        else
            wgmma_m64nNk16_bf16<kN, kTransposeB>(d, a_descriptor<kN, kA>(smem, step), b_descriptor<kN, kB>(smem, step),
                                                 scale_d);
    }
    wgmma_commit_group();
    wgmma_wait_group<0>(d);
    PID_UNROLL
    for (int r = 0; r < kN / 2; ++r) params.d[t * (kN / 2) + r] = d[r];
}

}  // namespace

#define MICRO_WGMMA(name, n, a, b) \
    PID_KERNEL(name, PidMicroWgmmaParams, test_entry(128, 1)) { body<n, a, b>(params); }
#define MICRO_WGMMA_SIZE(n)                                                             \
    MICRO_WGMMA(micro_wgmma_shared_k_n##n, n, A::swizzled, B::k_swizzled)               \
    MICRO_WGMMA(micro_wgmma_shared_mn_n##n, n, A::swizzled, B::mn_swizzled)             \
    MICRO_WGMMA(micro_wgmma_registers_k_n##n, n, A::registers, B::k_swizzled)           \
    MICRO_WGMMA(micro_wgmma_registers_mn_n##n, n, A::registers, B::mn_swizzled)         \
    MICRO_WGMMA(micro_wgmma_plain_k_n##n, n, A::plain, B::k_plain)                      \
    MICRO_WGMMA(micro_wgmma_plain_mn_n##n, n, A::plain, B::mn_plain)

MICRO_WGMMA_SIZE(8)
MICRO_WGMMA_SIZE(16)
MICRO_WGMMA_SIZE(32)
MICRO_WGMMA_SIZE(64)
MICRO_WGMMA_SIZE(72)
MICRO_WGMMA_SIZE(80)
MICRO_WGMMA_SIZE(96)
MICRO_WGMMA_SIZE(128)
MICRO_WGMMA_SIZE(144)
MICRO_WGMMA_SIZE(192)
MICRO_WGMMA_SIZE(216)
MICRO_WGMMA_SIZE(256)

// One thread: output = low and high word of descriptor(smem + 64; leading 128, stride 1024, swizzle 128) less that of
// smem with all else 0: bits 0-13 give 4, 16-29 give 8, 32-45 give 64, 62-63 give 1.
PID_KERNEL(micro_wgmma_descriptor, PidMicroParams, test_entry(32, 1)) {
    struct alignas(1024) Bytes {
        unsigned char x[1024];
    };
    PID_SHARED(Bytes, smem);
    const std::uint64_t bits = wgmma_descriptor(smem.x + 64, 128, 1024, WgmmaSwizzle::bytes_128) -
                               wgmma_descriptor(smem.x, 0, 0, WgmmaSwizzle::none);
    if (threadIdx.x != 0) return;
    params.output[0] = static_cast<std::uint32_t>(bits);
    params.output[1] = static_cast<std::uint32_t>(bits >> 32);
}

// One warpgroup gives up registers, two get more, as producer and consumers do: output[t] = t. 384 threads are given 168
// each at launch, 40 + 2 * 232 = 3 * 168.
PID_KERNEL(micro_setmaxnreg, PidMicroParams, test_entry(384, 1)) {
    const std::uint32_t t = static_cast<std::uint32_t>(threadIdx.x);
    if (t < 128)
        setmaxnreg_dec<40>();
    else
        setmaxnreg_inc<232>();
    params.output[t] = t;
}
