// update: the epilogue of gemm_pixel_update: attention added, norm, modulation, MLP and, at the end of a step, the sampler.
//   pixels [rows, n / 64, 16] bf16; equations in update.cu. source: ops PixelUpdate and SampleStep (src/graph/op.rs)
#pragma once
#include "../gemm/epilogue.cuh"
#include "../sampler/update.cuh"
#include "mlp.cuh"

// What an update reads beside the pixel: where the warp's columns of the two products' biases begin, and what is the same for
// all pixels. sample_norm and sample_weight: of the final layer.
template <int kStride = kMlpHidden>
struct PixelOperands {
    const float *bias, *expand_bias, *norm, *sample_norm, *sample_weight;
    PixelMlp<kStride> mlp;
};

// All of them where they lie; `column` is the warp's.
PID_DEVICE PixelOperands<> operands_in_memory(const PidPixelUpdateParams& params, std::uint32_t column) {
    return {params.gemm.group[0].bias + column,
            params.expand_bias + column / 4,
            params.norm,
            params.sample.norm,
            params.sample.weight,
            {params.fc1, params.fc1_bias, params.fc2, params.fc2_bias}};
}

// The pixel of a row pair as it is in memory, a quad's part.
struct HeldPixels {
    uint2 bf16[2];
};

template <bool kSample, class Operands = PixelOperands<>>
struct PixelUpdate {
    const PidPixelUpdateParams& params;
    std::uint32_t column;  // of the warp; its pixel is column / 64
    Operands operands;

    PID_DEVICE std::size_t offset(const Row& row) const {
        return (static_cast<std::size_t>(row.stream) * (params.gemm.n / 64) + column / 64) * kPixelChannels;
    }

    PID_DEVICE HeldPixels fetch(const RowPair& pair, int q) const {
        HeldPixels held;
        PID_UNROLL
        for (int h = 0; h < 2; ++h)
            // A row past the end stands for row 0, which another thread is writing in place.
            held.bf16[h] = pair.inside[h] ? reinterpret_cast<const uint2*>(params.pixels + offset(pair.row[h]))[q]
                                         : make_uint2(0, 0);
        return held;
    }

    // v: the modulation, four channels of each of four slots; e: the expanded attention.
    PID_DEVICE void attend(const float (&v)[16], const float (&e)[4], int q, float (&x)[4]) const {
        float gate[4], expand[4];
        load_quad(gate, operands.bias, q);
        load_quad(expand, operands.expand_bias, q);
        PID_UNROLL
        for (int i = 0; i < 4; ++i) x[i] += (v[i] + gate[i]) * (e[i] + expand[i]);
    }

    PID_DEVICE void modulate(const float (&v)[16], int q, const float (&x)[4], float (&z)[4]) const {
        float shift[4], scale[4], norm[4];
        load_quad(shift, operands.bias + 16, q);
        load_quad(scale, operands.bias + 32, q);
        load_quad(norm, operands.norm, q);
        const float r = quad_inverse_rms(x);
        PID_UNROLL
        for (int i = 0; i < 4; ++i) z[i] = x[i] * r * norm[i] * (1.0f + v[8 + i] + scale[i]) + v[4 + i] + shift[i];
    }

    // Where the picture's value is that the thread writes: one channel each, none of the fourth thread's.
    PID_DEVICE std::size_t place(const Row& row, int q) const {
        const std::uint32_t pixel = column / 64, cols = params.sample.grid_cols;
        const std::uint32_t y = row.token / cols * 16 + pixel / 16, x = row.token % cols * 16 + pixel % 16;
        return sampled_place(params.sample, q, row.sample, y, x);
    }

    PID_DEVICE void finish(const Row& row, bool valid, int q, const SampledValue& value, const float (&x)[4]) const {
        if (!kSample) {
            if (valid) store_quad_bf16(params.pixels + offset(row), q, x);
            return;
        }
        float norm[4], v[3];
        load_quad(norm, operands.sample_norm, q);
        const float r = quad_inverse_rms(x);
        PID_UNROLL
        for (int c = 0; c < 3; ++c) {
            float weight[4], sum = 0.0f;
            load_quad(weight, operands.sample_weight + c * kPixelChannels, q);
            PID_UNROLL
            for (int i = 0; i < 4; ++i) sum += x[i] * r * norm[i] * weight[i];
            v[c] = quad_sum(sum) + params.sample.bias[c];
        }
        if (valid && q != 3) sample_value(params.sample, place(row, q), value, q == 0 ? v[0] : q == 1 ? v[1] : v[2]);
    }

    PID_DEVICE void apply(const RowPair& pair, const HeldPixels& held, const float (&v)[2][16], const float (&e)[2][4],
                          int q) const {
        float x[2][4], z[2][4], out[2][4], gate[4];
        SampledValue value[2];
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            unpack_bf16(x[h], held.bf16[h]);
            attend(v[h], e[h], q, x[h]);
            modulate(v[h], q, x[h], z[h]);
        }
        operands.mlp.apply(z[0], z[1], out);
        PID_UNROLL
        for (int h = 0; h < 2; ++h)
            value[h] = kSample && pair.inside[h] && q != 3 ? sampled_value(params.sample, place(pair.row[h], q)) : SampledValue{};
        load_quad(gate, operands.bias + 48, q);
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            PID_UNROLL
            for (int i = 0; i < 4; ++i) x[h][i] += (v[h][12 + i] + gate[i]) * out[h][i];
            finish(pair.row[h], pair.inside[h], q, value[h], x[h]);
        }
    }
};
