// epilogue: what follows a product, row by row. An epilogue is a type with
//   row_factor(group, row, q): what it needs once for a row of a tile;
//   fetch(group, row, valid, column, q) -> Fetched: what it reads of a row beforehand, so that many reads are in flight;
//   row(group, row, valid, factor, column, q, fetched, v): v are the thread's values of `row`, in the order that ColumnOrder
//     gives them to thread q of the quad, where the block of columns (64, or a head of 72) begins at `column`.
// All 32 lanes call them together. `valid` says whether row and column exist; quad sums are allowed, so nobody leaves early.
// Where a product's only output is bf16, row() stores what pack() gives, and box() says where bulk stores put it
// (boxes_sm90.cuh):
//   kPackedWords: how many bf16 pairs a thread has of a row and block, 8 or 4;
//   pack(group, row, valid, factor, column, q, fetched, v, packed): the pairs, those that are not there of any value;
//   box(segment, column): where the block's columns go.
#pragma once
#include "../common/emit.cuh"
#include "tile.cuh"

// Where a box of results goes: one of its group's output maps, the first column, and the third coordinate.
struct BoxPlace {
    std::uint32_t part, column, plane;
};

// Where a row has no factor and nothing is fetched.
struct PlainEpilogue {
    struct Fetched {};
    // For how many rows more there are registers to fetch while one is worked on (sm_90a).
    static constexpr int kFetchesAhead = 1;
    PID_DEVICE float row_factor(int, const Row&, int) const { return 1.0f; }
    PID_DEVICE Fetched fetch(int, const Row&, bool, std::uint32_t, int) const { return {}; }
};

// Calls epilogue.row() for each of the thread's eight rows.
template <int kNTiles, int kFault, class Epilogue>
PID_DEVICE void each_row(const Epilogue& epilogue, const PidGemm& gemm, const TileAt& tile,
                         const float (&acc)[kMTiles][kNTiles][4]) {
    const ThreadAt at = thread_at();
    const PidRows& rows = gemm.group[tile.group].rows;
    const std::uint32_t column = tile.column + static_cast<std::uint32_t>(at.warp_col) * kNTiles * 8;
    PID_UNROLL
    for (int mi = 0; mi < kMTiles; ++mi) {
        PID_UNROLL
        for (int h = 0; h < 2; ++h) {
            const std::uint32_t index =
                tile.row + static_cast<std::uint32_t>(at.warp_row * kWarpRows + mi * 16 + h * 8 + at.quad_row);
            const bool inside = kFault == kNoStoreGuard || index < rows.count;
            const Row row = row_at(rows, inside ? index : 0);
            float v[2 * kNTiles];
            take_row(acc, mi, h, v);
            const bool valid = inside && column < gemm.n;
            const float factor = epilogue.row_factor(tile.group, row, at.q);
            const auto fetched = epilogue.fetch(tile.group, row, valid, column, at.q);
            epilogue.row(tile.group, row, valid, factor, column, at.q, fetched, v);
        }
    }
}

// A grouped product with an epilogue; the body of most entries. kJointA: A's rows lie in a joint buffer.
template <int kNTiles, bool kJointA, int kFault, class ColumnOrder = Consecutive16, class Epilogue>
PID_DEVICE void gemm_tile(const PidGemm& gemm, const Epilogue& epilogue) {
    constexpr int kBlockN = kNTiles * 16;
    PID_SHARED(GemmShared<kBlockN>, smem);
    const TileAt tile = tile_at<kBlockN>(gemm);
    const PidGroup& group = gemm.group[tile.group];
    const auto a = ALoader<kFault>::template make<kJointA>(group.a, group.rows, tile.row, gemm.k);
    const auto b = BLoader<kBlockN, kFault>::make(group.b, gemm.n, gemm.k, gemm.ldb, tile.column);
    float acc[kMTiles][kNTiles][4];
    clear(acc);
    multiply<kNTiles, ColumnOrder, kFault>(a, b, gemm.k, smem, acc);
    each_row<kNTiles, kFault>(epilogue, gemm, tile, acc);
}

// 1 / rms of row `row`, from its slices' sums of squares; every lane of the quad gets it.
PID_DEVICE float folded_inverse_rms(const float* sums, std::uint32_t row, std::uint32_t hidden, int q) {
    const std::uint32_t slices = hidden / 64;
    const float* from = sums + static_cast<std::size_t>(row) * slices;
    float sum = 0.0f;
    // Eight loads in flight: left to the compiler, the remainder of the loop waits for each.
    PID_NO_UNROLL
    for (std::uint32_t first = static_cast<std::uint32_t>(q); first < slices; first += 32) {
        float slice[8];
        PID_UNROLL
        for (std::uint32_t i = 0; i < 8; ++i) slice[i] = first + 4 * i < slices ? from[first + 4 * i] : 0.0f;
        PID_UNROLL
        for (int i = 0; i < 8; ++i) sum += slice[i];
    }
    // rcp: an exact division is a call of some 30 instructions, for every row and tile.
    return rsqrt_approx(quad_sum(sum) * rcp_approx(static_cast<float>(hidden)) + kRmsEpsilon);
}
