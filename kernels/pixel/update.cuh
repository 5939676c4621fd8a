// update: the epilogue of gemm_pixel_update: attention added, norm, modulation, MLP and, at the end of a step, the sampler.
#pragma once
#include "../gemm/epilogue.cuh"
#include "../sampler/update.cuh"
#include "mlp.cuh"

// Two row halves of one row tile: the pixel of the warp in rows quad_row and quad_row + 8.
struct PixelPair {
    Row row[2];
    bool valid[2];
};

template <bool kSample>
struct PixelUpdate {
    const PidPixelUpdateParams& params;
    std::uint32_t column;  // of the warp; its pixel is column / 64

    PID_DEVICE std::size_t offset(const Row& row) const {
        return (static_cast<std::size_t>(row.stream) * (params.gemm.n / 64) + column / 64) * kPixelChannels;
    }

    // v: the modulation, four channels of each of four slots; e: the expanded attention.
    PID_DEVICE void attend(const float (&v)[16], const float (&e)[4], const float* bias, int q, float (&x)[4]) const {
        float gate[4], expand[4];
        load_quad(gate, bias, q);
        load_quad(expand, params.expand_bias + column / 4, q);
        PID_UNROLL
        for (int i = 0; i < 4; ++i) x[i] += (v[i] + gate[i]) * (e[i] + expand[i]);
    }

    PID_DEVICE void modulate(const float (&v)[16], const float* bias, int q, const float (&x)[4], float (&z)[4]) const {
        float shift[4], scale[4], norm[4];
        load_quad(shift, bias + 16, q);
        load_quad(scale, bias + 32, q);
        load_quad(norm, params.norm, q);
        const float r = quad_inverse_rms(x);
        PID_UNROLL
        for (int i = 0; i < 4; ++i) z[i] = x[i] * r * norm[i] * (1.0f + v[8 + i] + scale[i]) + v[4 + i] + shift[i];
    }

    PID_DEVICE void finish(const Row& row, bool valid, int q, const float (&x)[4]) const {
        if (!kSample) {
            if (valid) store_quad_bf16(params.pixels + offset(row), q, x);
            return;
        }
        const PidSample& sample = params.sample;
        float norm[4], v[3];
        load_quad(norm, sample.norm, q);
        const float r = quad_inverse_rms(x);
        PID_UNROLL
        for (int c = 0; c < 3; ++c) {
            float weight[4], sum = 0.0f;
            load_quad(weight, sample.weight + c * kPixelChannels, q);
            PID_UNROLL
            for (int i = 0; i < 4; ++i) sum += x[i] * r * norm[i] * weight[i];
            v[c] = quad_sum(sum) + sample.bias[c];
        }
        // One thread a channel of the picture.
        if (!valid || q == 3) return;
        const std::uint32_t pixel = column / 64;
        const std::uint32_t y = row.token / sample.grid_cols * 16 + pixel / 16, x0 = row.token % sample.grid_cols * 16;
        sample_channel(sample, q, q == 0 ? v[0] : q == 1 ? v[1] : v[2], row.sample, y, x0 + pixel % 16);
    }

    PID_DEVICE void apply(const PixelPair& pair, const float (&v)[2][16], const float (&e)[2][4], int q) const {
        const float* bias = params.gemm.group[0].bias + column;
        const PixelMlp mlp{params.fc1, params.fc1_bias, params.fc2, params.fc2_bias};
        float x[2][4], z[2][4], out[2][4], gate[4];
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            // A row past the end stands for row 0, which another thread is writing in place.
            PID_UNROLL
            for (int i = 0; i < 4; ++i) x[h][i] = 0.0f;
            if (pair.valid[h]) load_quad_bf16(x[h], params.pixels + offset(pair.row[h]), q);
            attend(v[h], e[h], bias, q, x[h]);
            modulate(v[h], bias, q, x[h], z[h]);
        }
        mlp.apply(z[0], z[1], out);
        load_quad(gate, bias + 48, q);
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            PID_UNROLL
            for (int i = 0; i < 4; ++i) x[h][i] += (v[h][12 + i] + gate[i]) * out[h][i];
            finish(pair.row[h], pair.valid[h], q, x[h]);
        }
    }
};
