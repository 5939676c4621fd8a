// epilogue: what follows a product, row by row. An epilogue is a type with
//   kValues: how many values of a row and block of columns a thread has, 16, or 18 of a head of 72;
//   row_operands(group, row, q) -> RowOperands: what row_factor() needs of a row, to be read before the product;
//   row_factor(group, row, q, operands): what it needs once for a row of a tile;
//   fetch(of) -> Fetched: what it reads of a row and block beforehand, so that many reads are in flight, and kFetchesAhead, for
//     how many units more than the one in hand there are registers (sm_90a);
//   row(of, fetched, v): v are the thread's values, in the order that ColumnOrder gives them to thread q of the quad;
//   kArrays, array(op, group, i): the float32 arrays that it reads by column, which it finds by its Columns: in memory, or, on
//     sm_90a, staged in shared memory before the product ends. nullptr: not read.
// `of` is a RowBlock (row_block.cuh). All 32 lanes call them together.
// Where a product's only output is bf16, row() stores what pack() gives, and box() says where bulk stores put it
// (sm90/boxes.cuh):
//   kPackedWords: how many bf16 pairs a thread has of a row and block, 8 or 4;
//   pack(of, fetched, v, packed): the pairs, those that are not there of any value;
//   box(segment, column): where the block's columns go.
// epilogue_checks.cuh asks for each of them by name.
#pragma once
#include "../common/emit.cuh"
#include "epilogue_checks.cuh"
#include "tile.cuh"

// Where an epilogue finds array i of those that it reads by column: where it lies.
struct ColumnsInMemory {
    PID_DEVICE const float* at(int, const float* array, std::uint32_t column) const { return array + column; }
};

// Where a row has no factor and nothing is fetched.
struct PlainEpilogue {
    static constexpr int kValues = 16;
    struct Fetched {};
    enum { kArrays = 0 };
    static constexpr int kFetchesAhead = 1;
    struct RowOperands {};
    PID_DEVICE RowOperands row_operands(int, const Row&, int) const { return {}; }
    PID_DEVICE float row_factor(int, const Row&, int, const RowOperands&) const { return 1.0f; }
    PID_DEVICE Fetched fetch(const RowBlock&) const { return {}; }
};

// Accumulators in the registers of mma.sync: a warp has a block of columns.
template <int kNTiles>
struct MmaAccumulators {
    static constexpr int kRowTiles = kMTiles, kBlocks = 1;
    // 128 registers are accumulators.
    template <class Epilogue>
    static constexpr int kFetchesAhead = 0;
    const float (&acc)[kMTiles][kNTiles][4];

    PID_DEVICE static std::uint32_t row(int m, int half) {
        const ThreadAt at = thread_at();
        return static_cast<std::uint32_t>(at.warp_row * kWarpRows + m * 16 + half * 8 + at.quad_row);
    }
    PID_DEVICE static std::uint32_t column(int) { return static_cast<std::uint32_t>(thread_at().warp_col) * kNTiles * 8; }
    PID_DEVICE void take(int m, int, int half, float (&v)[2 * kNTiles]) const { take_row(acc, m, half, v); }
};

// Rows of a tile by their index in it.
struct RowsOfGroup {
    const PidRows& rows;
    std::uint32_t first;
    PID_DEVICE bool inside(std::uint32_t index) const { return first + index < rows.count; }
    // One that is not inside stands for the group's first.
    PID_DEVICE Row row(std::uint32_t index, bool is_inside) const { return row_at(rows, is_inside ? first + index : 0); }
};

// Calls epilogue.row() for each of the thread's eight rows.
template <int kNTiles, int kFault, class Epilogue>
PID_DEVICE void each_row(const Epilogue& epilogue, const PidGemm& gemm, const TileAt& tile,
                         const float (&acc)[kMTiles][kNTiles][4]) {
    static_assert(CheckedEpilogue<Epilogue>::value, "");
    const RowsOfGroup rows{gemm.group[tile.group].rows, tile.row};
    const int q = static_cast<int>(threadIdx.x) % 4;
    each_unit<kFault == kNoStoreGuard, false>(
        epilogue, gemm, MmaAccumulators<kNTiles>{acc}, rows, tile.group, tile.column,
        [&](int, int, const Row& row) { return epilogue.row_operands(tile.group, row, q); },
        [&](int, const RowBlock& of, const auto& fetched, auto& v) { epilogue.row(of, fetched, v); });
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
