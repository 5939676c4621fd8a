// gemm_pixel_update_*_sm90, gemm_pixel_update_sample_*_sm90: gemm_pixel_update (update.cu) by TMA and wgmma.
//   Two products of a tile through one ring: the modulation (BLOCK_N columns, 64 a pixel), then the expanded attention
//   (BLOCK_N / 4, 16 a pixel); both stay in registers for the epilogue.
//   sm_90a; tiles and the way to share the work as named (product_sm90.cuh); grid at most one block an SM, in whole clusters;
//   block 384, smem up to 227 KB.
#include "../gemm/epilogue_sm90.cuh"
#include "update.cuh"

// The thread's rows of the tile, pixel by pixel.
template <class Shape, bool kSample, int kFault>
PID_DEVICE void update_pixels(const PidPixelUpdateParams& params, const PidTmaGemm& tma, const ProductTile& tile,
                              const float (&modulation)[Shape::kRowTiles][Shape::BLOCK_N / 2],
                              const float (&expanded)[Shape::kRowTiles][Shape::BLOCK_N / 8]) {
    const RowsOfTile rows(tma, params.gemm, tile);
    PID_UNROLL
    for (int m = 0; m < Shape::kRowTiles; ++m) {
        const RowPair pair = row_pair<Shape, kFault>(rows, m);
        const PixelPair pixels{{pair.row[0], pair.row[1]}, {pair.inside[0], pair.inside[1]}};
        PID_UNROLL
        for (int p = 0; p < Shape::BLOCK_N / 64; ++p) {
            const std::uint32_t column = tile.column + static_cast<std::uint32_t>(p) * 64;
            // The whole warpgroup; n is a multiple of 64.
            if (kFault != kNoColumnBound && column >= params.gemm.n) break;
            // Keeps the next pixel's loads from being moved up here, where there are no registers for them.
            syncwarp();
            float v[2][16], e[2][4];
            PID_UNROLL
            for (int h = 0; h < 2; ++h) {
                take_block(modulation[m], p * 8, h, v[h]);
                take_block(expanded[m], p * 2, h, e[h]);
            }
            PixelUpdate<kSample>{params, column}.apply(pixels, v, e, static_cast<int>(threadIdx.x) % 4);
        }
    }
}

template <class Shape, bool kSample, int kFault>
PID_DEVICE void update_sm90(const WithMaps<PidPixelUpdateParams>& params) {
    static_assert(!Shape::kPingPong, "turns end with the first product");
    using Shared = ProductShared<Shape>;
    constexpr int kN = Shape::BLOCK_N, kExpandN = Shape::BLOCK_N / 4;
    const PidTmaGemm& tma = params.tma;
    const PidPixelUpdateParams& op = params.op;
    const std::uint32_t first = (op.gemm.k + 63) / 64, second = (op.expand_k + 63) / 64;
    const auto load = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t rank) {
        load_slices<Shape, kFault>(smem, at, RowSource{&tma.a[0], op.gemm.k, tile}, &tma.b[0], tile.column, kN, rank);
        load_slices<Shape, kFault>(smem, at, RowSource{&tma.a[1], op.expand_k, tile}, &tma.b[1], tile.column / 4, kExpandN,
                                   rank);
    };
    const auto consume = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t first_row,
                             const auto& passed) {
        float modulation[Shape::kRowTiles][kN / 2], expanded[Shape::kRowTiles][kExpandN / 2];
        multiply_slices<Shape, kN, kFault>(smem, smem.full, at, first, first_row, modulation, passed);
        multiply_slices<Shape, kExpandN, kFault>(smem, smem.full, at, second, first_row, expanded, [](std::uint32_t) {});
        update_pixels<Shape, kSample, kFault>(op, tma, tile, modulation, expanded);
    };
    run_product<Shape, kFault>(tma, op.gemm, first, first + second, load, consume,
                               nothing_to_mend<Shape>);
}

PID_KERNEL(gemm_pixel_update_128x256_sm90, WithMaps<PidPixelUpdateParams>, kProductThreads, 1) {
    update_sm90<ProductShape<256, false, 1, 40>, false, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_pixel_update_128x256_pair_sm90, WithMaps<PidPixelUpdateParams>, kProductThreads, 1, 2) {
    update_sm90<ProductShape<256, false, 2, 40>, false, kSoundProduct>(params);
}
PID_KERNEL(gemm_pixel_update_sample_128x256_sm90, WithMaps<PidPixelUpdateParams>, kProductThreads, 1) {
    update_sm90<ProductShape<256, false, 1, 40>, true, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_pixel_update_sample_128x256_pair_sm90, WithMaps<PidPixelUpdateParams>, kProductThreads, 1, 2) {
    update_sm90<ProductShape<256, false, 2, 40>, true, kSoundProduct>(params);
}

PID_FAULT_KERNEL(gemm_pixel_update_128x256_sm90_no_slot_wait, WithMaps<PidPixelUpdateParams>, kProductThreads,
                 update_sm90<ProductShape<256, false, 1, 40>, false, kNoSlotWait>)
PID_FAULT_KERNEL(gemm_pixel_update_128x256_sm90_no_row_bound, WithMaps<PidPixelUpdateParams>, kProductThreads,
                 update_sm90<ProductShape<256, false, 1, 40>, false, kNoRowBound>)
PID_FAULT_KERNEL(gemm_pixel_update_128x256_sm90_no_column_bound, WithMaps<PidPixelUpdateParams>, kProductThreads,
                 update_sm90<ProductShape<256, false, 1, 40>, false, kNoColumnBound>)
PID_FAULT_KERNEL(gemm_pixel_update_sample_128x256_sm90_no_row_bound, WithMaps<PidPixelUpdateParams>, kProductThreads,
                 update_sm90<ProductShape<256, false, 1, 40>, true, kNoRowBound>)
