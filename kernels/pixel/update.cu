// gemm_pixel_update: pixels += gate_a * e, then pixels += gate_m * mlp(rms(pixels; norm) * (1 + scale) + shift), with
//   [gate_a, shift, scale, gate_m] = A W^T + bias and e = attention expand^T + expand_bias, both per pixel
// gemm_pixel_update_sample: the same, then the final layer and the sampler's step instead of storing the pixels
//   A [rows, k] bf16, W [n, ldb] bf16 with rows [pixel, slot, 16], attention [rows, expand_k] bf16, expand [n / 4,
//   expand_ldb] bf16, pixels [rows, n / 64, 16] bf16 updated; f32 accumulators; the 64-wide hidden layer stays in
//   registers.
//   A warp's 64 columns are one pixel, of both products: thread q of a quad holds channels 4q .. 4q + 3 of every slot.
//   sm_80+; 128 x 128 tiles (two pixels), grid ceil(rows / 128) ceil(n / 128), block 128, smem 48 KB;
//   2 rows (n k + n / 4 expand_k) + 2 rows n / 64 * 2048 FLOP.
//   source: ops PixelUpdate and SampleStep (src/graph/op.rs).
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

template <bool kSample, int kFault>
PID_DEVICE void gemm_pixel_update_body(const PidPixelUpdateParams& params) {
    PID_SHARED(GemmShared<128>, smem);
    const PidGemm& gemm = params.gemm;
    const PidGroup& group = gemm.group[0];
    const TileAt tile = tile_at<128>(gemm);
    const ThreadAt at = thread_at();

    float modulation[kMTiles][8][4], expanded[kMTiles][2][4];
    clear(modulation);
    clear(expanded);
    const auto a = ALoader<kFault>::template make<false>(group.a, group.rows, tile.row, gemm.k);
    multiply<8, Groups16, kFault>(a, BLoader<128, kFault>::make(group.b, gemm.n, gemm.k, gemm.ldb, tile.column), gemm.k, smem,
                                  modulation);
    const auto attention = ALoader<kFault>::template make<false>(params.attention, group.rows, tile.row, params.expand_k);
    const auto expand = BLoader<32, kFault>::make(params.expand, gemm.n / 4, params.expand_k, params.expand_ldb, tile.column / 4);
    multiply<2, Groups16, kFault>(attention, expand, params.expand_k, smem, expanded);

    const std::uint32_t column = tile.column + static_cast<std::uint32_t>(at.warp_col) * 64;
    // A whole warp; n is a multiple of 64.
    if (column >= gemm.n) return;
    const PixelUpdate<kSample> update{params, column};
    PID_UNROLL
    for (int mi = 0; mi < kMTiles; ++mi) {
        PixelPair pair;
        float v[2][16], e[2][4];
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            const std::uint32_t index =
                tile.row + static_cast<std::uint32_t>(at.warp_row * kWarpRows + mi * 16 + h * 8 + at.quad_row);
            pair.valid[h] = kFault == kNoStoreGuard || index < group.rows.count;
            pair.row[h] = row_at(group.rows, pair.valid[h] ? index : 0);
            take_row(modulation, mi, h, v[h]);
            take_row(expanded, mi, h, e[h]);
        }
        update.apply(pair, v, e, at.q);
    }
}

PID_KERNEL(gemm_pixel_update, PidPixelUpdateParams, kGemmThreads, 1) { gemm_pixel_update_body<false, kNoFault>(params); }
PID_KERNEL(gemm_pixel_update_sample, PidPixelUpdateParams, kGemmThreads, 1) {
    gemm_pixel_update_body<true, kNoFault>(params);
}

PID_FAULT_KERNEL(gemm_pixel_update_no_slot_barrier, PidPixelUpdateParams, kGemmThreads,
                 gemm_pixel_update_body<false, kNoSlotBarrier>)
PID_FAULT_KERNEL(gemm_pixel_update_no_product_barrier, PidPixelUpdateParams, kGemmThreads,
                 gemm_pixel_update_body<false, kNoProductBarrier>)
PID_FAULT_KERNEL(gemm_pixel_update_no_store_guard, PidPixelUpdateParams, kGemmThreads,
                 gemm_pixel_update_body<false, kNoStoreGuard>)
PID_FAULT_KERNEL(gemm_pixel_update_sample_no_store_guard, PidPixelUpdateParams, kGemmThreads,
                 gemm_pixel_update_body<true, kNoStoreGuard>)
