// epilogue: what follows a product, row by row. An epilogue is a type with
//   row_factor(group, row, q): what it needs once for a row of a tile;
//   fetch(group, row, valid, column, q) -> Fetched: what it reads of a row beforehand, so that many reads are in flight;
//   row(group, row, valid, factor, column, q, fetched, v): v are the thread's values of `row`, in the order that ColumnOrder
//     gives them to thread q of the quad, where the block of columns (64, or a head of 72) begins at `column`;
//   kArrays, array(op, group, i): the float32 arrays that it reads by column, which it finds by its Columns: in memory, or, on
//     sm_90a, staged in shared memory before the product ends. nullptr: not read.
// All 32 lanes call them together. `valid` says whether row and column exist; quad sums are allowed, so nobody leaves early.
// Where a product's only output is bf16, row() stores what pack() gives, and box() says where bulk stores put it
// (sm90/boxes.cuh):
//   kPackedWords: how many bf16 pairs a thread has of a row and block, 8 or 4;
//   pack(group, row, valid, factor, column, q, fetched, v, packed): the pairs, those that are not there of any value;
//   box(segment, column): where the block's columns go.
#pragma once
#include "../common/emit.cuh"
#include "tile.cuh"

// Where an epilogue finds array i of those that it reads by column: where it lies.
struct ColumnsInMemory {
    PID_DEVICE const float* at(int, const float* array, std::uint32_t column) const { return array + column; }
};

// Where a box of results goes: one of its group's output maps, the first column, and the third coordinate.
struct BoxPlace {
    std::uint32_t part, column, plane;
};

// Where a row has no factor and nothing is fetched.
struct PlainEpilogue {
    struct Fetched {};
    enum { kArrays = 0 };
    // For how many rows more there are registers to fetch while one is worked on (sm_90a).
    static constexpr int kFetchesAhead = 1;
    // What row_factor() needs of a row, to be read before the product.
    struct RowOperands {};
    PID_DEVICE RowOperands row_operands(int, const Row&, int) const { return {}; }
    PID_DEVICE float row_factor(int, const Row&, int, const RowOperands&) const { return 1.0f; }
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
            const float factor = epilogue.row_factor(tile.group, row, at.q, epilogue.row_operands(tile.group, row, at.q));
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

// The thread's share of a row's sums of squares: slices q, q + 4, ... of the first 32.
struct FoldedSums {
    float slice[8];
};

PID_DEVICE FoldedSums folded_sums(const float* sums, std::uint32_t row, std::uint32_t hidden, std::uint32_t first) {
    const std::uint32_t slices = hidden / 64;
    const float* from = sums + static_cast<std::size_t>(row) * slices;
    FoldedSums of;
    PID_UNROLL
    for (std::uint32_t i = 0; i < 8; ++i) of.slice[i] = first + 4 * i < slices ? from[first + 4 * i] : 0.0f;
    return of;
}

// 1 / rms of row `row`, from its slices' sums of squares, of which `of` has the first 32; every lane of the quad gets it.
PID_DEVICE float folded_inverse_rms(const float* sums, std::uint32_t row, std::uint32_t hidden, int q, FoldedSums of) {
    float sum = 0.0f;
    for (std::uint32_t first = static_cast<std::uint32_t>(q);;) {
        PID_UNROLL
        for (int i = 0; i < 8; ++i) sum += of.slice[i];
        first += 32;
        if (first - static_cast<std::uint32_t>(q) >= hidden / 64) break;
        // Eight loads in flight: left to the compiler, the remainder of the loop waits for each.
        of = folded_sums(sums, row, hidden, first);
    }
    // rcp: an exact division is a call of some 30 instructions, for every row and tile.
    return rsqrt_approx(quad_sum(sum) * rcp_approx(static_cast<float>(hidden)) + kRmsEpsilon);
}
