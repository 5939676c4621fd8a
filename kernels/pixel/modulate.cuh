// modulate: the epilogue of gemm_pixel_modulate, output = rms(pixels; norm) * (1 + scale) + shift.
#pragma once
#include "../gemm/epilogue.cuh"
#include "quad.cuh"

template <class Columns = ColumnsInMemory>
struct PixelModulateEpilogue : PlainEpilogue {
    using Op = PidPixelModulateParams;
    struct Fetched {
        float x[2][4];
    };
    static constexpr int kFetchesAhead = 3;
    enum Array { kBias, kArrays };
    const Op& params;
    Columns columns;

    PID_DEVICE explicit PixelModulateEpilogue(const Op& p, Columns of = {}) : params(p), columns(of) {}

    PID_DEVICE static const float* array(const Op& op, int group, int) { return op.gemm.group[group].bias; }

    // Of the first of the block's two pixels, in pixels and output.
    PID_DEVICE std::size_t offset(const Row& row, bool valid, std::uint32_t column) const {
        return static_cast<std::size_t>(row.stream) * (params.gemm.n / 2) + (valid ? column / 2 : 0);
    }

    PID_DEVICE Fetched fetch(int, const Row& row, bool valid, std::uint32_t column, int q) const {
        Fetched fetched;
        PID_UNROLL
        for (int p = 0; p < 2; ++p)
            load_quad_bf16(fetched.x[p], params.pixels + offset(row, valid, column) + 16 * p, q);
        return fetched;
    }

    PID_DEVICE void row(int group, const Row& row, bool valid, float, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[16]) const {
        PID_UNROLL
        for (int p = 0; p < 2; ++p) {
            const float(&from)[4] = fetched.x[p];
            float x[4], norm[4], shift[4] = {}, scale[4] = {};
            load_quad(norm, params.norm, q);
            // Beyond the last column there is nothing to read.
            if (valid) {
                const float* bias = columns.at(kBias, params.gemm.group[group].bias, column);
                load_quad(shift, bias + 32 * p, q);
                load_quad(scale, bias + 32 * p + 16, q);
            }
            const float r = quad_inverse_rms(from);
            PID_UNROLL
            for (int i = 0; i < 4; ++i)
                x[i] = from[i] * r * norm[i] * (1.0f + v[8 * p + 4 + i] + scale[i]) + v[8 * p + i] + shift[i];
            if (valid) store_quad_bf16(params.output + offset(row, valid, column) + 16 * p, q, x);
        }
    }
};
