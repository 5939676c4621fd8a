// gemm_pixel_modulate: output = rms(pixels; norm) * (1 + scale) + shift, [shift, scale] = A W^T + bias per pixel
//   A [rows, k] bf16, W [n, ldb] bf16 with rows [pixel, shift | scale, 16], bias [n] f32, pixels [rows, n / 32, 16] bf16,
//   output [rows, n / 2] bf16; n a multiple of 64; f32 accumulators and norm.
//   A warp's 64 columns are two pixels; thread q of a quad holds channels 4q .. 4q + 3 of both their slots.
//   sm_80+; 128 x 128 tiles, grid ceil(rows / 128) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: op PixelModulate (src/graph/op.rs).
#include "../gemm/epilogue.cuh"
#include "quad.cuh"

struct PixelModulateEpilogue {
    const PidPixelModulateParams& params;

    PID_DEVICE void row(int group, const Row& row, bool valid, std::uint32_t column, int q, float (&v)[16]) const {
        const std::uint32_t n = params.gemm.n;
        const float* bias = params.gemm.group[group].bias + (valid ? column : 0);
        const std::size_t line = static_cast<std::size_t>(row.stream) * (n / 2) + (valid ? column / 2 : 0);
        PID_UNROLL
        for (int p = 0; p < 2; ++p) {
            float x[4], norm[4], shift[4], scale[4];
            load_quad_bf16(x, params.pixels + line + 16 * p, q);
            load_quad(norm, params.norm, q);
            load_quad(shift, bias + 32 * p, q);
            load_quad(scale, bias + 32 * p + 16, q);
            const float r = quad_inverse_rms(x);
            PID_UNROLL
            for (int i = 0; i < 4; ++i)
                x[i] = x[i] * r * norm[i] * (1.0f + v[8 * p + 4 + i] + scale[i]) + v[8 * p + i] + shift[i];
            if (valid) store_quad_bf16(params.output + line + 16 * p, q, x);
        }
    }
};

template <int kFault>
PID_DEVICE void gemm_pixel_modulate_body(const PidPixelModulateParams& params) {
    gemm_tile<8, false, kFault, Groups16>(params.gemm, PixelModulateEpilogue{params});
}

PID_KERNEL(gemm_pixel_modulate, PidPixelModulateParams, kGemmThreads, 2) { gemm_pixel_modulate_body<kNoFault>(params); }

PID_FAULT_KERNEL(gemm_pixel_modulate_no_slot_barrier, PidPixelModulateParams, kGemmThreads,
                 gemm_pixel_modulate_body<kNoSlotBarrier>)
PID_FAULT_KERNEL(gemm_pixel_modulate_no_store_guard, PidPixelModulateParams, kGemmThreads,
                 gemm_pixel_modulate_body<kNoStoreGuard>)
