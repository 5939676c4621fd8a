/* params_tests: the structs that the micro-test kernels (kernels/tests) take by value. Plain C, as params.h. Outputs are
 * raw: what each thread holds, so that the emulator's and a GPU's can be compared bit by bit. */
#ifndef PID_PARAMS_TESTS_H
#define PID_PARAMS_TESTS_H
#include "params.h"
#include "tensor_map.h"

/** Kernels that need nothing but words. */
typedef struct PidMicroParams {
    /** As the kernel says. */
    const uint32_t* input;
    /** As the kernel says. */
    uint32_t* output;
} PidMicroParams;
PID_ASSERT_SIZE(PidMicroParams, 16);

/** micro_tma_*: one box of `map`. */
typedef struct PidMicroTmaParams {
    PidTensorMap map;
    /** Stores: the box as it lies in shared memory, `box_bytes`. micro_bulk_load: `box_bytes` of source. */
    const uint32_t* input;
    /** Loads: shared memory after the load, `box_bytes`. */
    uint32_t* output;
    /** Innermost first; as many as the map's rank. */
    int32_t coordinates[4];
    /** At most 32768, a multiple of 16. */
    uint32_t box_bytes;
    uint32_t reserved[23];
} PidMicroTmaParams;
PID_ASSERT_SIZE(PidMicroTmaParams, 256);

/** micro_wgmma_*: `d = A B^T` or `d = c + A B^T` with K = 64. */
typedef struct PidMicroWgmmaParams {
    /** bf16 `[64, 64]`, and `[n, 64]`. */
    const uint16_t* a;
    const uint16_t* b;
    /** Accumulators by thread, float32 `[128, n / 2]`. */
    const float* c;
    float* d;
    /** 0: c is not read. */
    uint32_t accumulate;
    uint32_t reserved;
} PidMicroWgmmaParams;
PID_ASSERT_SIZE(PidMicroWgmmaParams, 40);

/** micro_pipeline: `D = A B^T` by TMA and wgmma. Boxes: a 64 x 64 and b 64 x 64 bf16, swizzle 128; d 32 x 64 float32, no
 * swizzle; columns first. */
typedef struct PidMicroPipelineParams {
    /** bf16 `[m, k]`. */
    PidTensorMap a;
    /** bf16 `[n, k]`. */
    PidTensorMap b;
    /** float32 `[m, n]`, written. */
    PidTensorMap d;
    /** ceil(k / 64). */
    uint32_t num_k_tiles;
    uint32_t reserved[31];
} PidMicroPipelineParams;
PID_ASSERT_SIZE(PidMicroPipelineParams, 512);

#endif
