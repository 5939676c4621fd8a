/* params: the structs that kernels take by value, one per entry point. Plain C; `tools/check-bindings` makes
 * src/kernels/params.rs of it. Every field is set by every launch; options are flags, never sentinels.
 * bf16 values are uint16_t. `[a, b]`: row-major, last axis contiguous. Row strides are the last extent unless a field
 * says otherwise. A buffer that holds a range of rows only is given by the address where row 0 would lie. Symbols: B batch, T text tokens, L image tokens, N = T + L, D hidden size, H x W pixels. */
#ifndef PID_PARAMS_H
#define PID_PARAMS_H
#include <stdint.h>

#include "tensor_map.h"

#if defined(__cplusplus)
#define PID_ASSERT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " is not " #bytes " bytes")
#else
#define PID_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " is not " #bytes " bytes")
#endif

/** Rows of one token stream that a launch covers, and where they lie in joint `[B, N, X]` buffers. */
typedef struct PidRows {
    /** First row, in the stream's own `[B * per_sample]` row space. */
    uint32_t first;
    /** Number of rows. */
    uint32_t count;
    /** Rows of one sample (T or L). */
    uint32_t per_sample;
    /** Rows of one sample in joint buffers (N; equal to per_sample where there is one stream). */
    uint32_t joint_per_sample;
    /** Joint row of a sample's first row (0 for text, T for the image). */
    uint32_t joint_first;
    uint32_t reserved;
} PidRows;
PID_ASSERT_SIZE(PidRows, 24);

/** One group of a grouped matrix product `A [rows, k] x B [n, k]^T`. */
typedef struct PidGroup {
    /** bf16, `k` wide; row space as the kernel says. Rows are 16-byte aligned. */
    const uint16_t* a;
    /** bf16 `[n, ldb]`, zeros beyond k. */
    const uint16_t* b;
    /** float32 `[n]`; all zeros where the layer has none. */
    const float* bias;
    PidRows rows;
} PidGroup;
PID_ASSERT_SIZE(PidGroup, 48);

/** Sizes of a grouped matrix product. */
typedef struct PidGemm {
    /** Text first where there are two streams. */
    PidGroup group[2];
    uint32_t num_groups;
    /** Output columns. */
    uint32_t n;
    /** Inner size, a multiple of 8. */
    uint32_t k;
    /** Elements from row to row of B, a multiple of 8, at least k. */
    uint32_t ldb;
} PidGemm;
PID_ASSERT_SIZE(PidGemm, 112);

/** What a product on sm_90 loads by bulk copies (TMA), and how its rows are cut into tiles. In the parameters of
 * `gemm_*_sm90` and `conv3x3_*_sm90` it stands before the struct that the portable kernel takes. */
typedef struct PidTmaGemm {
    /** A of each group, bf16 (k, rows of a segment, segments), boxes (64, 128, 1); convolutions (channels, grid columns, grid
     * rows, samples), boxes (64, 16, 8, 1). pixel_update has the attention in the second. 128-byte swizzle, as all. */
    PidTensorMap a[2];
    /** B of each group, bf16 (k, n), boxes (64, columns of a tile / blocks of a cluster). pixel_update has the expansion in the
     * second. Rows are in the order that wgmma's accumulators give to the threads (`kernels::order`). */
    PidTensorMap b[2];
    /** Runs of rows that lie one after the other in A and in what is stored by boxes: 1, or where one of them is by joint
     * row the samples. */
    uint32_t segments[2];
    /** Rows of a segment. */
    uint32_t segment_rows[2];
    /** Tiles of 128 rows of a segment, rounded up to whole clusters. */
    uint32_t segment_tiles[2];
    uint32_t reserved[26];
} PidTmaGemm;
PID_ASSERT_SIZE(PidTmaGemm, 640);

/** The same where results leave by bulk stores too (`*_bulk_sm90`). Row tiles do not straddle a segment. */
typedef struct PidTmaGemmStores {
    PidTmaGemm gemm;
    /** Outputs of each group, bf16, boxes (64, 16, 1), 128-byte swizzle; rows are those of A's segments, nothing else is
     * written. linear (n, rows, 1); swiglu (n / 2, rows, segments); qkv has q, k and v (64, rows, segments * heads), others
     * the first alone, three times. */
    PidTensorMap output[2][3];
} PidTmaGemmStores;
PID_ASSERT_SIZE(PidTmaGemmStores, 1408);

/** RMS norm and modulation folded into a product: `y = acc / rms + shift_product`, where A already holds x * scale. */
typedef struct PidFold {
    /** Sums of squares of x over slices of 64 columns, float32 `[rows, hidden / 64]`, by stream row. */
    const float* sums;
    /** `shift W^T`, float32 `[n]`. */
    const float* shift_product;
} PidFold;
PID_ASSERT_SIZE(PidFold, 16);

/** What the next product reads of a stream x: `operand = bf16(x * scale)` and sums of squares. */
typedef struct PidEmit {
    /** bf16 `[rows, hidden]`, by stream row. */
    uint16_t* operand;
    /** float32 `[hidden]`. */
    const float* scale;
    /** float32 `[rows, hidden / 64]`. */
    float* sums;
    /** 0: nobody reads it, nothing is written. */
    uint32_t enabled;
    uint32_t reserved;
} PidEmit;
PID_ASSERT_SIZE(PidEmit, 32);

/** gemm_linear: `output = A W^T + bias`. A by stream row. */
typedef struct PidLinearParams {
    PidGemm gemm;
    /** bf16 `[rows, n]`, by stream row. */
    uint16_t* output;
} PidLinearParams;
PID_ASSERT_SIZE(PidLinearParams, 120);

/** Where a product reads float32 rows that it rounds to bf16 itself. */
typedef struct PidEmbedParams {
    /** `a` of the group is unused. */
    PidGemm gemm;
    /** gemm_embed_patch: image `[B, 3, H, W]`; gemm_embed_rows: `[rows, k]`. */
    const float* source;
    /** float32 `[rows, n]`. */
    float* output;
    /** Written by gemm_embed_patch alone. */
    PidEmit emit;
    /** Picture size in pixels, multiples of 16 (patch alone). */
    uint32_t height;
    uint32_t width;
} PidEmbedParams;
PID_ASSERT_SIZE(PidEmbedParams, 168);

/** One stream's share of a PidQkvParams. */
typedef struct PidQkvStream {
    PidFold fold;
    /** float32 `[head_dim]`; q's with the softmax scale and log2(e) multiplied in. */
    const float* q_norm;
    const float* k_norm;
    /** (cos, sin) of the even and of the odd pairs of a head, `[positions, head_dim / 4, 2]` float32 each. */
    const float* rotary_even;
    const float* rotary_odd;
    /** Image: pair tables are indexed by column and row of the patch grid. Text: both by the token; 0 here. */
    uint32_t grid_cols;
    uint32_t reserved;
} PidQkvStream;
PID_ASSERT_SIZE(PidQkvStream, 56);

/** gemm_qkv: projection, per-head RMS norm of q and k, rotary, split into heads. A by stream row. */
typedef struct PidQkvParams {
    PidGemm gemm;
    PidQkvStream stream[2];
    /** bf16 `[B, heads, N, head_dim]` each. */
    uint16_t* q;
    uint16_t* k;
    uint16_t* v;
    uint32_t heads;
    uint32_t reserved;
} PidQkvParams;
PID_ASSERT_SIZE(PidQkvParams, 256);

/** gemm_swiglu: columns 2i and 2i + 1 of the product are w1 and w3; `output = silu(w1 z) (w3 z)`. A by stream row. */
typedef struct PidSwiGluParams {
    PidGemm gemm;
    PidFold fold[2];
    /** bf16 `[joint rows, n / 2]`. */
    uint16_t* output;
} PidSwiGluParams;
PID_ASSERT_SIZE(PidSwiGluParams, 152);

/** One stream's share of a PidResidualParams. */
typedef struct PidResidualStream {
    /** float32 `[rows, n]`, updated. */
    float* residual;
    /** float32 `[n]`. */
    const float* gate;
    PidEmit emit;
} PidResidualStream;
PID_ASSERT_SIZE(PidResidualStream, 48);

/** gemm_residual: `residual += gate (A W^T + bias)`. A by joint row, residual by stream row. */
typedef struct PidResidualParams {
    PidGemm gemm;
    PidResidualStream stream[2];
} PidResidualParams;
PID_ASSERT_SIZE(PidResidualParams, 208);

/** Latent gates. gemm_latent_gate (per token and channel): `stream += sigmoid(A W^T + half - alpha sigma) features`;
 * rows_latent_gate (per token): the product is a dot with `gate_weight`. */
typedef struct PidLatentGateParams {
    /** bias is unused: it is in feature_half. rows_latent_gate reads nothing but the first group's rows and n = hidden. */
    PidGemm gemm;
    /** float32 `[rows, hidden]`, updated. */
    float* stream;
    /** bf16 `[rows, hidden]`. */
    const uint16_t* features;
    /** bf16 `[rows, hidden]`, or `[rows]` per token. */
    const uint16_t* feature_half;
    /** float32 `[B]`. */
    const float* sigma;
    /** float32 `[hidden]`; per token alone. */
    const float* gate_weight;
    PidEmit emit;
    /** exp(log_alpha). */
    float alpha;
    uint32_t reserved;
} PidLatentGateParams;
PID_ASSERT_SIZE(PidLatentGateParams, 192);

/** Ops on whole rows of a stream: rows_text_norm, rows_restart, rows_time_silu. */
typedef struct PidRowsParams {
    /** float32 `[rows, hidden]`, updated. */
    float* stream;
    /** rows_restart: float32 `[rows, hidden]` to start from. Others: the stream itself. */
    const float* source;
    /** float32 `[hidden]`: rows_text_norm the norm's weight, rows_time_silu the time embedding. */
    const float* vector;
    /** rows_text_norm: bf16 `[>= rows_per_sample, hidden]` added after the norm. */
    const uint16_t* position;
    /** rows_restart and rows_time_silu. */
    PidEmit emit;
    uint32_t num_rows;
    uint32_t rows_per_sample;
    uint32_t hidden;
    uint32_t reserved;
} PidRowsParams;
PID_ASSERT_SIZE(PidRowsParams, 80);

/** rows_lookup: `output[r] = table[ids[r]]`, NaN where an id names no row of the table. */
typedef struct PidLookupParams {
    /** int32 `[num_rows]`. */
    const int32_t* ids;
    /** bf16 `[num_entries, hidden]`. */
    const uint16_t* table;
    /** float32 `[num_rows, hidden]`. */
    float* output;
    PidEmit emit;
    uint32_t num_rows;
    uint32_t num_entries;
    uint32_t hidden;
    uint32_t reserved;
} PidLookupParams;
PID_ASSERT_SIZE(PidLookupParams, 72);

/** gemm_pixel_modulate: columns are `[pixel, shift | scale, 16]`;
 * `output = rms(pixels; norm) (1 + scale) + shift`. A by stream row. */
typedef struct PidPixelModulateParams {
    PidGemm gemm;
    /** bf16 `[rows, n / 32, 16]`. */
    const uint16_t* pixels;
    /** bf16 `[rows, n / 2]`. */
    uint16_t* output;
    /** float32 `[16]`. */
    const float* norm;
} PidPixelModulateParams;
PID_ASSERT_SIZE(PidPixelModulateParams, 136);

/** How the last pixel block ends a step of the sampler. */
typedef struct PidSample {
    /** float32 `[B, 3, H, W]`, updated. */
    float* image;
    /** float32 `[B, 3, H, W]`; read when add_noise. */
    const float* noise;
    /** float32 `[B, 3, H, W]`; written when store_velocity. */
    float* velocity;
    /** float32 `[16]`: norm of the final layer. */
    const float* norm;
    /** float32 `[3, 16]` and `[3]`. */
    const float* weight;
    const float* bias;
    /** x0 = image - t v; then image = keep x0 + noise_scale noise (sde), or image + velocity_scale v (ode). */
    float t;
    float keep;
    float noise_scale;
    float velocity_scale;
    uint32_t add_noise;
    uint32_t is_ode;
    uint32_t store_velocity;
    /** Patch grid. */
    uint32_t grid_rows;
    uint32_t grid_cols;
    uint32_t reserved;
} PidSample;
PID_ASSERT_SIZE(PidSample, 88);

/** gemm_pixel_update: columns of the first product are `[pixel, gate_a | shift | scale | gate_m, 16]`, of the second
 * (attention x expand^T) `[pixel, 16]`. `pixels += gate_a (second)`, then
 * `pixels += gate_m fc2(gelu(fc1(rms(pixels; norm) (1 + scale) + shift)))`. A by stream row. */
typedef struct PidPixelUpdateParams {
    PidGemm gemm;
    /** bf16 `[rows, expand_k]`. */
    const uint16_t* attention;
    /** bf16 `[n / 4, expand_ldb]`, and float32 `[n / 4]`. */
    const uint16_t* expand;
    const float* expand_bias;
    /** bf16 `[rows, n / 64, 16]`, updated. */
    uint16_t* pixels;
    /** float32 `[16]`. */
    const float* norm;
    /** bf16 `[64, 16]`, float32 `[64]`, bf16 `[16, 64]`, float32 `[16]`. */
    const uint16_t* fc1;
    const float* fc1_bias;
    const uint16_t* fc2;
    const float* fc2_bias;
    uint32_t expand_k;
    uint32_t expand_ldb;
    /** Applied by gemm_pixel_update_sample alone, which does not store the pixels. */
    PidSample sample;
} PidPixelUpdateParams;
PID_ASSERT_SIZE(PidPixelUpdateParams, 280);

/** pixel_embed: `pixels = W rgb + bias + position code`; see the op. */
typedef struct PidPixelEmbedParams {
    /** float32 `[B, 3, H, W]`. */
    const float* image;
    /** bf16 `[B * L, 256, 16]`. */
    uint16_t* pixels;
    /** float32 `[16, 3]` and `[16]`. */
    const float* weight;
    const float* bias;
    uint32_t batch;
    uint32_t grid_rows;
    uint32_t grid_cols;
    uint32_t reserved;
} PidPixelEmbedParams;
PID_ASSERT_SIZE(PidPixelEmbedParams, 48);

/** sample_step: the final layer and the sampler's step on stored pixels. */
typedef struct PidSampleStepParams {
    /** bf16 `[B * L, 256, 16]`. */
    const uint16_t* pixels;
    PidSample sample;
    uint32_t batch;
    uint32_t reserved;
} PidSampleStepParams;
PID_ASSERT_SIZE(PidSampleStepParams, 104);

/** attention: `output[b, i, h] = softmax2(q k^T) v`, softmax2 with base 2 and no scale (both are in q). */
typedef struct PidAttentionParams {
    /** bf16 `[B, heads, tokens, head_dim]` each. */
    const uint16_t* q;
    const uint16_t* k;
    const uint16_t* v;
    /** bf16 `[B, tokens, heads * head_dim]`. */
    uint16_t* output;
    uint32_t batch;
    uint32_t heads;
    uint32_t tokens;
    /** Queries before this one are not computed. */
    uint32_t query_start;
} PidAttentionParams;
PID_ASSERT_SIZE(PidAttentionParams, 48);

/** The same by bulk copies. Boxes, columns first: q 64 x 16, k and v 64 x the kernel's keys, swizzle 128; output head_dim x
 * 16, swizzle 128 for heads of 64, none for 72. */
typedef struct PidAttentionSm90Params {
    /** bf16 `[B * heads, tokens, head_dim]` each. */
    PidTensorMap q;
    PidTensorMap k;
    PidTensorMap v;
    /** bf16 `[B, tokens, heads * head_dim]`, written. */
    PidTensorMap output;
    /** The same tensors by address. */
    PidAttentionParams op;
    uint32_t reserved[20];
} PidAttentionSm90Params;
PID_ASSERT_SIZE(PidAttentionSm90Params, 640);

/** conv3x3 on the patch grid, tokens in raster order. Weights `[n, ldb]`, `k = tap * channels + channel`. */
typedef struct PidConvParams {
    /** rows: all tokens of all samples. `a`: bf16 `[B * L, channels]` (conv3x3_tokens), unused by conv3x3_latent. */
    PidGemm gemm;
    /** conv3x3_latent: float32 `[B, channels * unpatchify^2, latent_rows, latent_cols]`. */
    const float* latent;
    /** bf16 `[B * L, n]`. */
    uint16_t* output;
    uint32_t channels;
    uint32_t grid_rows;
    uint32_t grid_cols;
    uint32_t latent_rows;
    uint32_t latent_cols;
    uint32_t unpatchify;
    /** 1: border pixels repeat; 0: zeros. */
    uint32_t replicate;
    /** 1: silu of the sum. */
    uint32_t silu;
    /** 1: add what output holds. */
    uint32_t accumulate;
    uint32_t reserved;
} PidConvParams;
PID_ASSERT_SIZE(PidConvParams, 168);

/** group_norm_sums, then group_norm_apply: `output = silu((input - mean) / sqrt(var + 1e-5) * weight + bias)`. */
typedef struct PidGroupNormParams {
    /** bf16 `[B, tokens, channels]`. */
    const uint16_t* input;
    /** bf16 `[B, tokens, channels]`; may be the input. */
    uint16_t* output;
    /** float32 `[channels]`. */
    const float* weight;
    const float* bias;
    /** float32 `[B, groups, slabs, 2]`: sum and sum of squares of each slab of tokens. */
    float* sums;
    uint32_t batch;
    uint32_t tokens;
    uint32_t channels;
    uint32_t groups;
    uint32_t slabs;
    uint32_t reserved;
} PidGroupNormParams;
PID_ASSERT_SIZE(PidGroupNormParams, 64);

/** philox_normal: standard normal values, element i from (seed, draw, i) alone. */
typedef struct PidNoiseParams {
    float* output;
    /** One 64-bit seed in device memory, so that a recorded launch can be replayed with another. */
    const uint64_t* seed;
    uint64_t count;
    uint32_t draw;
    uint32_t reserved;
} PidNoiseParams;
PID_ASSERT_SIZE(PidNoiseParams, 32);

/** image_u8: `[B, 3, H, W]` in [-1, 1] to `[B, H, W, 3]` bytes, `round((x + 1) * 127.5)`, clamped. */
typedef struct PidImageParams {
    const float* image;
    uint8_t* output;
    uint32_t batch;
    uint32_t height;
    uint32_t width;
    uint32_t reserved;
} PidImageParams;
PID_ASSERT_SIZE(PidImageParams, 32);

#endif
