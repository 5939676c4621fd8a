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
#include "update.cuh"

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
    const PixelUpdate<kSample> update{params, column, operands_in_memory(params, column)};
    PID_UNROLL
    for (int mi = 0; mi < kMTiles; ++mi) {
        const RowPair pair = row_pair<kFault == kNoStoreGuard, MmaAccumulators<8>>(RowsOfGroup{group.rows, tile.row}, mi);
        float v[2][16], e[2][4];
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            take_row(modulation, mi, h, v[h]);
            take_row(expanded, mi, h, e[h]);
        }
        update.apply(pair, update.fetch(pair, at.q), v, e, at.q);
    }
}

PID_KERNEL(gemm_pixel_update, PidPixelUpdateParams, gemm_entry<128>("gemm_pixel_update", 1)) { gemm_pixel_update_body<false, kNoFault>(params); }
PID_KERNEL(gemm_pixel_update_sample, PidPixelUpdateParams, gemm_entry<128>("gemm_pixel_update_sample", 1)) {
    gemm_pixel_update_body<true, kNoFault>(params);
}

PID_FAULT(gemm_pixel_update, no_slot_barrier, gemm_pixel_update_body<false, kNoSlotBarrier>)
PID_FAULT(gemm_pixel_update, no_product_barrier, gemm_pixel_update_body<false, kNoProductBarrier>)
PID_FAULT(gemm_pixel_update, no_store_guard, gemm_pixel_update_body<false, kNoStoreGuard>)
PID_FAULT(gemm_pixel_update_sample, no_store_guard, gemm_pixel_update_body<true, kNoStoreGuard>)
