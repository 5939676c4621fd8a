// gemm_pixel_update_*_sm90, gemm_pixel_update_sample_*_sm90: the end of a pixel block, by TMA and wgmma; equations and operands
//   of gemm_pixel_update (pixel/update.cu), which is for elsewhere; W and expand with their rows in the order Groups16
//   Two products of a tile through one ring: the modulation (BLOCK_N columns, 64 a pixel), then the expanded attention
//   (BLOCK_N / 4, 16 a pixel); both stay in registers for the epilogue. n a multiple of 64, k and expand_k of 8.
//   sm_90a; tiles and the way to share the work as named (product.cuh); persistent: grid at most one block an SM, in whole
//   clusters; block 384, smem up to 227 KB; 2 rows (n k + n / 4 expand_k) + 2 rows n / 64 * 2048 FLOP.
//   source: ops PixelUpdate and SampleStep (src/graph/op.rs); the structure is product.cuh's.
#include "epilogue.cuh"
#include "../pixel/update.cuh"

// Rows of fc2 lie 72 elements apart: eight of them, which a fragment is read from, then begin in different banks.
constexpr int kFc2Stride = kMlpHidden + 8;

// What pixels' updates read, in shared memory: of each consumer's tile, and the same for all.
struct UpdateOperands {
    struct {
        float bias[256], expand_bias[64];
    } of_tile[2];
    float norm[16], fc1_bias[kMlpHidden], fc2_bias[16], sample_norm[16], sample_weight[3 * 16];
    std::uint16_t fc1[kMlpHidden * 16], fc2[16 * kFc2Stride];
};
static_assert(sizeof(UpdateOperands) % 16 == 0, "copies are of 16 bytes");

template <bool kPair>
using UpdateShape = ProductShape<256, false, kPair ? 2 : 1, 40, false, sizeof(UpdateOperands)>;

// Copies of `bytes`, 16 at a time, by the threads of a consumer.
PID_DEVICE void stage(void* to, const void* from, std::uint32_t bytes) {
    for (std::uint32_t at = threadIdx.x % 128 * 16; at < bytes; at += 128 * 16)
        cp_async_cg_16(static_cast<char*>(to) + at, static_cast<const char*>(from) + at);
}

// What is the same for all pixels, by the first consumer for both: the second begins when the first has passed slices of its
// first tile (Turns), and that is after its waiting here.
template <bool kSample>
PID_DEVICE void stage_constants(UpdateOperands& to, const PidPixelUpdateParams& params) {
    if (warpgroup_of_thread() != 1) return;
    stage(to.norm, params.norm, sizeof(to.norm));
    stage(to.fc1_bias, params.fc1_bias, sizeof(to.fc1_bias));
    stage(to.fc2_bias, params.fc2_bias, sizeof(to.fc2_bias));
    stage(to.fc1, params.fc1, sizeof(to.fc1));
    // A row of eight copies each.
    const std::uint32_t row = threadIdx.x % 128 / 8, chunk = threadIdx.x % 8;
    cp_async_cg_16(to.fc2 + row * kFc2Stride + chunk * 8, params.fc2 + row * kMlpHidden + chunk * 8);
    if (kSample) {
        stage(to.sample_norm, params.sample.norm, sizeof(to.sample_norm));
        stage(to.sample_weight, params.sample.weight, sizeof(to.sample_weight));
    }
    cp_async_commit_group();
    cp_async_wait_group<0>();
}

// The thread's rows of the tile, pixel by pixel.
template <class Shape, bool kSample, int kFault>
PID_DEVICE void update_pixels(const PidPixelUpdateParams& params, const PidTmaGemm& tma, const ProductTile& tile,
                              const UpdateOperands& staged, const float (&modulation)[1][Shape::BLOCK_N / 2],
                              const float (&expanded)[1][Shape::BLOCK_N / 8]) {
    constexpr int kPixels = Shape::BLOCK_N / 64;
    using Operands = PixelOperands<kFc2Stride>;
    const RowPair rows = row_pair<kFault == kNoRowBound, WgmmaRows<Shape>>(RowsOfTile(tma, params.gemm, tile), 0);
    const auto& of_tile = staged.of_tile[warpgroup_of_thread() - 1];
    const auto update = [&](int p) {
        const Operands operands{of_tile.bias + 64 * p,  of_tile.expand_bias + 16 * p, staged.norm, staged.sample_norm,
                                staged.sample_weight, {staged.fc1, staged.fc1_bias, staged.fc2, staged.fc2_bias}};
        return PixelUpdate<kSample, Operands>{params, tile.column + static_cast<std::uint32_t>(p) * 64, operands};
    };
    const int q = static_cast<int>(threadIdx.x) % 4;
    // The whole warpgroup; n is a multiple of 64.
    const auto is_there = [&](int p) {
        return kFault == kNoColumnBound || tile.column + static_cast<std::uint32_t>(p) * 64 < params.gemm.n;
    };
    // The next pixel's values are under way; those of the picture leave no registers for them.
    HeldPixels held = !kSample && is_there(0) ? update(0).fetch(rows, q) : HeldPixels{};
    PID_UNROLL
    for (int p = 0; p < kPixels; ++p) {
        if (!is_there(p)) break;
        // Keeps the loads of the pixels after the next from being moved up here, where there are no registers for them.
        syncwarp();
        const HeldPixels now = kSample ? update(p).fetch(rows, q) : held;
        if (!kSample && p + 1 < kPixels && is_there(p + 1)) held = update(p + 1).fetch(rows, q);
        float v[2][16], e[2][4];
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            take_block(modulation[0], p * 8, h, v[h]);
            take_block(expanded[0], p * 2, h, e[h]);
        }
        update(p).apply(rows, now, v, e, q);
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
    const auto staged_in = [](Shared& smem) -> UpdateOperands& {
        return *reinterpret_cast<UpdateOperands*>(smem.operands.staged);
    };
    const auto begin = [&](Shared& smem) { stage_constants<kSample>(staged_in(smem), op); };
    const auto consume = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t first_row,
                             const auto& passed) {
        UpdateOperands& staged = staged_in(smem);
        // All of this consumer are done with the tile before.
        if (kFault != kNoStagedReuse) consumer_sync();
        auto& of_tile = staged.of_tile[warpgroup_of_thread() - 1];
        // As many columns as there are; n is a multiple of 64.
        const std::uint32_t columns = op.gemm.n - tile.column < kN ? op.gemm.n - tile.column : kN;
        stage(of_tile.bias, op.gemm.group[0].bias + tile.column, columns * 4);
        stage(of_tile.expand_bias, op.expand_bias + tile.column / 4, columns);
        cp_async_commit_group();
        float modulation[1][kN / 2], expanded[1][kExpandN / 2];
        multiply_slices<Shape, kN, kFault>(smem, smem.full, at, first, first_row, modulation, passed);
        multiply_slices<Shape, kExpandN, kFault>(smem, smem.full, at, second, first_row, expanded, [](std::uint32_t) {});
        wait_for_columns<kFault>();
        update_pixels<Shape, kSample, kFault>(op, tma, tile, staged, modulation, expanded);
    };
    run_product<Shape, kFault>(tma, op.gemm, first, first + second, load, consume, nothing_to_mend<Shape>,
                               begin);
}

PID_KERNEL(gemm_pixel_update_128x256_sm90, WithMaps<PidPixelUpdateParams>,
           product_entry<UpdateShape<false>>("gemm_pixel_update", kGroupsOf16)) {
    update_sm90<UpdateShape<false>, false, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_pixel_update_128x256_pair_sm90, WithMaps<PidPixelUpdateParams>,
                   product_entry<UpdateShape<true>>("gemm_pixel_update", kGroupsOf16)) {
    update_sm90<UpdateShape<true>, false, kSoundProduct>(params);
}
PID_KERNEL(gemm_pixel_update_sample_128x256_sm90, WithMaps<PidPixelUpdateParams>,
           product_entry<UpdateShape<false>>("gemm_pixel_update_sample", kGroupsOf16)) {
    update_sm90<UpdateShape<false>, true, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(gemm_pixel_update_sample_128x256_pair_sm90, WithMaps<PidPixelUpdateParams>,
                   product_entry<UpdateShape<true>>("gemm_pixel_update_sample", kGroupsOf16)) {
    update_sm90<UpdateShape<true>, true, kSoundProduct>(params);
}

PID_FAULT(gemm_pixel_update_128x256_sm90, no_slot_wait, update_sm90<UpdateShape<false>, false, kNoSlotWait>)
PID_FAULT(gemm_pixel_update_128x256_sm90, no_row_bound, update_sm90<UpdateShape<false>, false, kNoRowBound>)
PID_FAULT(gemm_pixel_update_128x256_sm90, no_column_bound, update_sm90<UpdateShape<false>, false, kNoColumnBound>)
PID_FAULT(gemm_pixel_update_128x256_sm90, no_staged_wait, update_sm90<UpdateShape<false>, false, kNoStagedWait>)
PID_FAULT(gemm_pixel_update_sample_128x256_sm90, no_row_bound, update_sm90<UpdateShape<false>, true, kNoRowBound>)
