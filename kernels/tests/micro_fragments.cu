// micro_fragments: cp.async, ldmatrix and mma.sync, a warp each. Grid 1, block 32.
#include "../intrinsics/intrinsics.cuh"
#include "../params_tests.h"

namespace {
struct alignas(16) Words {
    std::uint32_t x[128];
};
PID_DEVICE std::uint32_t thread_index() { return static_cast<std::uint32_t>(threadIdx.x); }
}  // namespace

// Lane t copies input words 4 t .. 4 t + 3, of which the first t % 5 are read, to
// words 4 (t ^ 1): output[4 (t ^ 1) + i] = i < t % 5 ? input[4 t + i] : 0.
PID_KERNEL(micro_cp_async_cg_16, PidMicroParams, test_entry(32, 1)) {
    PID_SHARED(Words, smem);
    const std::uint32_t t = thread_index();
    cp_async_cg_16(&smem.x[4 * (t ^ 1)], params.input + 4 * t, t % 5 * 4);
    cp_async_commit_group();
    cp_async_wait_group<0>();
    syncthreads();
    for (std::uint32_t i = 0; i < 4; ++i) params.output[4 * t + i] = smem.x[4 * t + i];
}

// Two groups; at most one in flight after the first wait. Lane t: output[t] = input[4 t] (group 1, after wait_group 1),
// output[32 + t] = input[4 t + 1] (group 2, after wait_group 0).
PID_KERNEL(micro_cp_async_groups, PidMicroParams, test_entry(32, 1)) {
    struct alignas(16) Smem {
        std::uint32_t x[2][128];
    };
    PID_SHARED(Smem, smem);
    const std::uint32_t t = thread_index();
    cp_async_cg_16(&smem.x[0][4 * t], params.input + 4 * t);
    cp_async_commit_group();
    cp_async_cg_16(&smem.x[1][4 * t], params.input + 4 * t);
    cp_async_commit_group();
    cp_async_wait_group<1>();
    params.output[t] = smem.x[0][4 * t];
    cp_async_wait_group<0>();
    params.output[32 + t] = smem.x[1][4 * t + 1];
}

// Input: 32 rows of 8 16-bit elements (4 words), matrix m in rows 8 m .. 8 m + 7. output[4 t + m] holds of row t / 4 of
// matrix m the elements 2 (t % 4) (low half) and 2 (t % 4) + 1.
PID_KERNEL(micro_ldmatrix_x4, PidMicroParams, test_entry(32, 1)) {
    PID_SHARED(Words, smem);
    const std::uint32_t t = thread_index();
    for (std::uint32_t i = 0; i < 4; ++i) smem.x[4 * t + i] = params.input[4 * t + i];
    syncthreads();
    std::uint32_t r[4];
    ldmatrix_x4(r, &smem.x[4 * t]);
    for (std::uint32_t i = 0; i < 4; ++i) params.output[4 * t + i] = r[i];
}

// The same input; output[4 t + m] holds of column t / 4 of matrix m the elements of rows 2 (t % 4) and 2 (t % 4) + 1.
PID_KERNEL(micro_ldmatrix_x4_trans, PidMicroParams, test_entry(32, 1)) {
    PID_SHARED(Words, smem);
    const std::uint32_t t = thread_index();
    for (std::uint32_t i = 0; i < 4; ++i) smem.x[4 * t + i] = params.input[4 * t + i];
    syncthreads();
    std::uint32_t r[4];
    ldmatrix_x4_trans(r, &smem.x[4 * t]);
    for (std::uint32_t i = 0; i < 4; ++i) params.output[4 * t + i] = r[i];
}

// stmatrix undoes ldmatrix: input by lane, 4 words, register m of lane t in word 4 t + m; output word i of row 8 m + r holds
// elements 2 i (low half) and 2 i + 1 of row r of matrix m. sm_90.
PID_KERNEL(micro_stmatrix_x4, PidMicroParams, test_entry(32, 1)) {
    PID_SHARED(Words, smem);
    const std::uint32_t t = thread_index();
    const std::uint32_t r[4] = {params.input[4 * t], params.input[4 * t + 1], params.input[4 * t + 2], params.input[4 * t + 3]};
    stmatrix_x4(&smem.x[4 * t], r);
    syncwarp();
    for (std::uint32_t i = 0; i < 4; ++i) params.output[4 * t + i] = smem.x[4 * t + i];
}

// Input by lane, 10 words: a[4], b[2], c[4] (floats). output[4 t + r] = register r of a b + c. With h the half of a word:
//   a[r], half h: row t / 4 + 8 (r % 2), k = 2 (t % 4) + 8 (r / 2) + h
//   b[r], half h: k = 2 (t % 4) + 8 r + h, column t / 4
//   c[r], d[r]:   row t / 4 + 8 (r / 2), column 2 (t % 4) + r % 2
PID_KERNEL(micro_mma_m16n8k16_bf16, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    const std::uint32_t* in = params.input + 10 * t;
    const std::uint32_t a[4] = {in[0], in[1], in[2], in[3]}, b[2] = {in[4], in[5]};
    float d[4] = {bits_to_float(in[6]), bits_to_float(in[7]), bits_to_float(in[8]), bits_to_float(in[9])};
    mma_m16n8k16_bf16(d, a, b);
    for (std::uint32_t i = 0; i < 4; ++i) params.output[4 * t + i] = float_to_bits(d[i]);
}

// The same with f16.
PID_KERNEL(micro_mma_m16n8k16_f16, PidMicroParams, test_entry(32, 1)) {
    const std::uint32_t t = thread_index();
    const std::uint32_t* in = params.input + 10 * t;
    const std::uint32_t a[4] = {in[0], in[1], in[2], in[3]}, b[2] = {in[4], in[5]};
    float d[4] = {bits_to_float(in[6]), bits_to_float(in[7]), bits_to_float(in[8]), bits_to_float(in[9])};
    mma_m16n8k16_f16(d, a, b);
    for (std::uint32_t i = 0; i < 4; ++i) params.output[4 * t + i] = float_to_bits(d[i]);
}
