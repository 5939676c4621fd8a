// modulate: the epilogue of gemm_pixel_modulate, output = rms(pixels; norm) * (1 + scale) + shift.
//   pixels [rows, n / 32, 16] and output [rows, n / 2] bf16, bias [n] f32. source: op PixelModulate (src/graph/op.rs)
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
    PID_DEVICE std::size_t offset(const RowBlock& of) const {
        return static_cast<std::size_t>(of.row.stream) * (params.gemm.n / 2) + (of.valid ? of.column / 2 : 0);
    }

    PID_DEVICE Fetched fetch(const RowBlock& of) const {
        Fetched fetched;
        PID_UNROLL
        for (int p = 0; p < 2; ++p)
            load_quad_bf16(fetched.x[p], params.pixels + offset(of) + 16 * p, of.q);
        return fetched;
    }

    PID_DEVICE void row(const RowBlock& of, const Fetched& fetched, float (&v)[16]) const {
        PID_UNROLL
        for (int p = 0; p < 2; ++p) {
            const float(&from)[4] = fetched.x[p];
            float x[4], norm[4], shift[4] = {}, scale[4] = {};
            load_quad(norm, params.norm, of.q);
            // Beyond the last column there is nothing to read.
            if (of.valid) {
                const float* bias = columns.at(kBias, params.gemm.group[of.group].bias, of.column);
                load_quad(shift, bias + 32 * p, of.q);
                load_quad(scale, bias + 32 * p + 16, of.q);
            }
            const float r = quad_inverse_rms(from);
            PID_UNROLL
            for (int i = 0; i < 4; ++i)
                x[i] = from[i] * r * norm[i] * (1.0f + v[8 * p + 4 + i] + scale[i]) + v[8 * p + i] + shift[i];
            if (of.valid) store_quad_bf16(params.output + offset(of) + 16 * p, of.q, x);
        }
    }
};
