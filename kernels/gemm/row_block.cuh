// row_block: a row and a block of its columns, as epilogues get them, whatever holds the accumulators.
//   A quad has a row's block: 64 columns, or a head of 72. mma.sync and wgmma leave each thread of it the same values.
#pragma once
#include "../common/rows.cuh"

struct RowBlock {
    int group;             // of the product
    Row row;               // one that is there where this one is not
    bool valid;            // whether row and columns exist; quad sums are allowed, so nobody leaves early
    float factor;          // what the epilogue's row_factor() says of the row
    std::uint32_t column;  // of the product, where the block begins
    int q;                 // the thread's place in its quad
};

// Where a box of results goes: one of its group's output maps, the first column, and the third coordinate.
struct BoxPlace {
    std::uint32_t part, column, plane;
};

// The two rows of a row tile that a thread has values of, 8 apart.
struct RowPair {
    Row row[2];
    bool inside[2];
};

// Of row tile `m` of the accumulators. kAllRows: those that are not there count as well (a fault).
template <bool kAllRows, class Accumulators, class Rows>
PID_DEVICE RowPair row_pair(const Rows& rows, int m) {
    RowPair pair;
    PID_UNROLL
    for (int h = 0; h < 2; ++h) {
        const std::uint32_t index = Accumulators::row(m, h);
        pair.inside[h] = kAllRows || rows.inside(index);
        pair.row[h] = rows.row(index, pair.inside[h]);
    }
    return pair;
}

// Calls finish(unit, row block, what was fetched for it, the thread's values) for each of the thread's rows and blocks:
// units go by block, its two rows one after the other.
//   accumulators: where a block's values come from, a type with kRowTiles, kBlocks (of a row), row(m, h), the row's index in the
//     tile, column(block), take(m, block, h, v), and kFetchesAhead(epilogue): for how many units there are registers to have
//     what the epilogue fetches under way.
//   rows: inside(index) and row(index, is_inside) of the tile's rows; operands(m, h, row): of row_factor().
//   kAllRows, kAllColumns: what is not there counts as well (faults).
template <bool kAllRows, bool kAllColumns, class Epilogue, class Accumulators, class Rows, class Operands, class Finish>
PID_DEVICE void each_unit(const Epilogue& epilogue, const PidGemm& gemm, const Accumulators& accumulators, const Rows& rows,
                          int group, std::uint32_t first_column, const Operands& operands, Finish&& finish) {
    constexpr int kUnits = 2 * Accumulators::kBlocks, kAhead = Accumulators::template kFetchesAhead<Epilogue>;
    static_assert(kAhead <= kUnits, "no more is fetched than there is");
    const int q = static_cast<int>(threadIdx.x) % 4;
    PID_UNROLL
    for (int m = 0; m < Accumulators::kRowTiles; ++m) {
        const RowPair pair = row_pair<kAllRows, Accumulators>(rows, m);
        const float factor[2] = {epilogue.row_factor(group, pair.row[0], q, operands(m, 0, pair.row[0])),
                                 epilogue.row_factor(group, pair.row[1], q, operands(m, 1, pair.row[1]))};
        const auto of = [&](int unit) -> RowBlock {
            const std::uint32_t column = first_column + Accumulators::column(unit / 2);
            const bool valid = pair.inside[unit % 2] && (kAllColumns || column < gemm.n);
            return {group, pair.row[unit % 2], valid, factor[unit % 2], column, q};
        };
        typename Epilogue::Fetched fetched[kAhead + 1];
        PID_UNROLL
        for (int unit = 0; unit < kAhead; ++unit) fetched[unit] = epilogue.fetch(of(unit));
        PID_UNROLL
        for (int unit = 0; unit < kUnits; ++unit) {
            if (unit + kAhead < kUnits) fetched[(unit + kAhead) % (kAhead + 1)] = epilogue.fetch(of(unit + kAhead));
            float v[Epilogue::kValues];
            accumulators.take(m, unit / 2, unit % 2, v);
            finish(unit, of(unit), fetched[unit % (kAhead + 1)], v);
        }
    }
}
