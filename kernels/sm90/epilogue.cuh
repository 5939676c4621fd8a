// epilogue: a product's kernel on sm_90a around an epilogue of the portable path (gemm/epilogue.cuh).
//   wgmma gives thread q of a quad columns 8 j + 2 q and one more of each n-tile j. B's rows are stored so that this is what
//   ColumnOrder asks for: within a block of 64 columns thread q has 16 q .. 16 q + 15 (Consecutive16) or 4 q .. 4 q + 3 of
//   every 16 (Groups16); src/kernels/order.rs.
#pragma once
#include <type_traits>

#include "../gemm/epilogue.cuh"
#include "product.cuh"

// Parameters of a product on sm_90a: the bulk copies', then the portable kernel's.
template <class Op, class Maps = PidTmaGemm>
struct alignas(128) WithMaps {
    Maps tma;
    Op op;
};

// A by rows: where the slices of a tile lie, and which rows it has.
struct RowSource {
    const PidTensorMap* map;
    std::uint32_t k;
    ProductTile tile;

    PID_DEVICE std::uint32_t num_slices() const { return (k + 63) / 64; }
    PID_DEVICE void load_a(std::uint16_t* to, std::uint64_t* full, std::uint32_t slice) const {
        cp_async_bulk_tensor_3d_shared_global(to, map, full, static_cast<int>(slice) * 64,
                                              static_cast<int>(tile.row_tile) * 128, static_cast<int>(tile.segment));
    }
    PID_DEVICE std::uint32_t b_column(std::uint32_t slice) const { return slice * 64; }
};

// Rows of a tile by their index in it.
struct RowsOfTile {
    const PidRows& rows;
    std::uint32_t segment_rows, segment_first, first;

    PID_DEVICE RowsOfTile(const PidTmaGemm& tma, const PidGemm& gemm, const ProductTile& tile)
        : rows(gemm.group[tile.group].rows),
          segment_rows(tma.segment_rows[tile.group]),
          segment_first(tile.segment * segment_rows),
          first(tile.row_tile * 128) {}
    PID_DEVICE bool inside(std::uint32_t index) const { return first + index < segment_rows; }
    // One that is not inside stands for the segment's first: a cluster's last tile may have no row at all.
    PID_DEVICE Row row(std::uint32_t index, bool is_inside) const {
        return row_at(rows, segment_first + (is_inside ? first + index : 0));
    }
};

// The thread's row `half` (0, 1: 8 further down) of the consumer's row tile m, by its index in the tile.
template <class Shape>
PID_DEVICE std::uint32_t row_in_tile(int m, int half) {
    const std::uint32_t thread = threadIdx.x % 128;
    const std::uint32_t first = Shape::kPingPong ? static_cast<std::uint32_t>(m) * 64 : (warpgroup_of_thread() - 1) * 64;
    return first + thread / 32 * 16 + thread % 32 / 4 + static_cast<std::uint32_t>(half) * 8;
}

// The thread's values of half `h` in the block of kValues / 2 n-tiles that begins at n-tile `first`.
template <int kValues, int kCount>
PID_DEVICE void take_block(const float (&acc)[kCount], int first, int h, float (&v)[kValues]) {
    PID_UNROLL
    for (int j = 0; j < kValues / 2; ++j) {
        v[2 * j] = acc[(first + j) * 4 + 2 * h];
        v[2 * j + 1] = acc[(first + j) * 4 + 2 * h + 1];
    }
}

// Which rows of a tile a thread has of wgmma's accumulators.
template <class Shape>
struct WgmmaRows {
    PID_DEVICE static std::uint32_t row(int m, int half) { return row_in_tile<Shape>(m, half); }
};

// Accumulators in the registers of wgmma, in blocks of kBlock columns: a consumer has all columns of its rows.
template <class Shape, int kBlock>
struct WgmmaAccumulators {
    static constexpr int kRowTiles = Shape::kRowTiles, kBlocks = Shape::BLOCK_N / kBlock;
    static_assert(Shape::BLOCK_N % kBlock == 0, "a tile is whole blocks of columns");
    template <class Epilogue>
    static constexpr int kFetchesAhead = Epilogue::kFetchesAhead;
    const float (&acc)[Shape::kRowTiles][Shape::BLOCK_N / 2];

    PID_DEVICE static std::uint32_t row(int m, int half) { return WgmmaRows<Shape>::row(m, half); }
    PID_DEVICE static std::uint32_t column(int block) { return static_cast<std::uint32_t>(block * kBlock); }
    PID_DEVICE void take(int m, int block, int half, float (&v)[kBlock / 4]) const {
        take_block(acc[m], block * (kBlock / 8), half, v);
    }
};

// What an epilogue reads by column (its arrays), in shared memory: a tile's columns of each, staged by a consumer for itself
// while it multiplies. Read where they lie, they would cost a round trip to L2 for every row, behind the ring's copies.
template <class Shape>
struct StagedColumns {
    const float* staged;
    std::uint32_t first;
    PID_DEVICE const float* at(int i, const float*, std::uint32_t column) const {
        return staged + static_cast<std::uint32_t>(i) * Shape::BLOCK_N + (column - first);
    }
};

// Bytes of shared memory for them, both consumers'.
PID_DEVICE constexpr std::uint32_t staged_bytes(int arrays, int columns) { return static_cast<std::uint32_t>(2 * arrays * columns) * 4; }

template <class Shape>
PID_DEVICE float* staged_columns(ProductShared<Shape>& smem) {
    return reinterpret_cast<float*>(smem.operands.staged) + (warpgroup_of_thread() - 1) * (Shape::kStagedBytes / 8);
}

// A consumer, before it multiplies.
template <class Shape, int kFault, class Epilogue>
PID_DEVICE void stage_columns(ProductShared<Shape>& smem, const typename Epilogue::Op& op, const ProductTile& tile) {
    constexpr std::uint32_t kChunks = Shape::BLOCK_N / 4;
    static_assert(Shape::kStagedBytes == staged_bytes(Epilogue::kArrays, Shape::BLOCK_N), "room for all arrays");
    static_assert(CheckedStagedEpilogue<Epilogue>::value, "");
    // All of it are done with the tile before.
    if (kFault != kNoStagedReuse) consumer_sync();
    float* to = staged_columns<Shape>(smem);
    for (std::uint32_t i = threadIdx.x % 128; i < Epilogue::kArrays * kChunks; i += 128) {
        const float* array = Epilogue::array(op, tile.group, static_cast<int>(i / kChunks));
        const std::uint32_t column = tile.column + i % kChunks * 4;
        if (array != nullptr && column < op.gemm.n) cp_async_cg_16(to + 4 * i, array + column);
    }
    cp_async_commit_group();
}

// A consumer, before its epilogue.
template <int kFault>
PID_DEVICE void wait_for_columns() {
    if (kFault != kNoStagedWait) cp_async_wait_group<0>();
    if (kFault != kNoStagedSync) consumer_sync();
}

// The epilogue of a product whose operands by column are staged; where it has none it reads memory.
template <template <class> class Epilogue, class Shape>
using StagedEpilogue = Epilogue<
    std::conditional_t<Epilogue<ColumnsInMemory>::kArrays == 0, ColumnsInMemory, StagedColumns<Shape>>>;

template <template <class> class Epilogue, class Shape, class Op>
PID_DEVICE StagedEpilogue<Epilogue, Shape> staged_epilogue(ProductShared<Shape>& smem, const Op& op, const ProductTile& tile) {
    using Staged = StagedEpilogue<Epilogue, Shape>;
    if constexpr (Staged::kArrays == 0)
        return Staged(op);
    else
        return Staged(op, StagedColumns<Shape>{staged_columns<Shape>(smem), tile.column});
}

// What row_factor() needs of each of the thread's rows.
template <class Shape, class Epilogue>
using RowOperands = typename Epilogue::RowOperands[Shape::kRowTiles][2];

template <class Shape, int kFault, class Epilogue, class Rows>
PID_DEVICE void fetch_operands(const Epilogue& epilogue, const Rows& rows, const ProductTile& tile,
                               RowOperands<Shape, Epilogue>& operands) {
    PID_UNROLL
    for (int m = 0; m < Shape::kRowTiles; ++m) {
        const RowPair pair = row_pair<kFault == kNoRowBound, WgmmaRows<Shape>>(rows, m);
        PID_UNROLL
        for (int h = 0; h < 2; ++h)
            operands[m][h] = epilogue.row_operands(tile.group, pair.row[h], static_cast<int>(threadIdx.x) % 4);
    }
}

// Calls finish(unit, row block, fetched, v) for each of the thread's rows and blocks of kBlock columns (row_block.cuh).
template <class Shape, int kBlock, int kFault, class Rows, class Epilogue, class Finish>
PID_DEVICE void each_block(const Epilogue& epilogue, const PidGemm& gemm, const Rows& rows, const ProductTile& tile,
                           const RowOperands<Shape, Epilogue>& operands,
                           const float (&acc)[Shape::kRowTiles][Shape::BLOCK_N / 2], Finish&& finish) {
    static_assert(CheckedEpilogue<Epilogue>::value, "");
    each_unit<kFault == kNoRowBound, kFault == kNoColumnBound>(
        epilogue, gemm, WgmmaAccumulators<Shape, kBlock>{acc}, rows, tile.group, tile.column,
        [&](int m, int h, const Row&) -> const typename Epilogue::RowOperands& { return operands[m][h]; }, finish);
}

// The epilogue ends each row itself.
template <class Shape, int kBlock, int kFault, class Rows, class Epilogue>
PID_DEVICE void finish_rows(const Epilogue& epilogue, const PidGemm& gemm, const Rows& rows, const ProductTile& tile,
                            const RowOperands<Shape, Epilogue>& operands,
                            const float (&acc)[Shape::kRowTiles][Shape::BLOCK_N / 2]) {
    each_block<Shape, kBlock, kFault>(
        epilogue, gemm, rows, tile, operands, acc,
        [&](int, const RowBlock& of, const auto& fetched, auto& v) { epilogue.row(of, fetched, v); });
}

// The kernel: load(smem, at, tile, rank) issues the copies of a tile, consume(smem, at, tile, first_row, passed) multiplies
// and ends it, mend(smem, at, tile) is called by the producer's second warp for each tile, begin(smem) by the consumers before
// their first. first_slices: of the first product of a tile; num_slices: of all its products.
template <class Shape, int kFault, class Load, class Consume, class Mend, class Begin>
PID_DEVICE void run_product(const PidTmaGemm& tma, const PidGemm& gemm, std::uint32_t first_slices, std::uint32_t num_slices,
                            const Load& load, const Consume& consume, const Mend& mend, const Begin& begin) {
    PID_SHARED(ProductShared<Shape>, smem);
    // Under the set-up, by a warp that has no part in it: nothing overlaps with a launch's first loads.
    if (threadIdx.x == 32) {
        PID_UNROLL
        for (int i = 0; i < 2; ++i) {
            prefetch_tensormap(&tma.a[i]);
            prefetch_tensormap(&tma.b[i]);
        }
    }
    set_up<Shape, kFault>(smem);
    if (warpgroup_of_thread() == 0) {
        setmaxnreg_dec<Shape::kProducerRegisters>();
        const ProductWalk<Shape> walk(tma, gemm);
        const std::uint32_t rank = rank_in_cluster<Shape>(), step = gridDim.x / Shape::kCluster;
        RingAt<Shape> at;
        if (threadIdx.x < 32 && elect_one_sync())
            for (std::uint32_t unit = blockIdx.x / Shape::kCluster; unit < walk.num_units(); unit += step)
                load(smem, at, walk.at(tma, unit, rank), rank);
        if (threadIdx.x / 32 == 1)
            for (std::uint32_t unit = blockIdx.x / Shape::kCluster; unit < walk.num_units(); unit += step)
                mend(smem, at, walk.at(tma, unit, rank));
    } else {
        setmaxnreg_inc<Shape::kConsumerRegisters>();
        const ProductWalk<Shape> walk(tma, gemm);
        const std::uint32_t rank = rank_in_cluster<Shape>(), step = gridDim.x / Shape::kCluster;
        const std::uint32_t consumer = warpgroup_of_thread() - 1;
        begin(smem);
        RingAt<Shape> at;
        Turns<Shape, kFault> turns(first_slices);
        std::uint32_t turn = 0;
        const std::uint32_t first = blockIdx.x / Shape::kCluster;
        for (std::uint32_t unit = first; unit < walk.num_units(); unit += step, turn ^= 1) {
            if (Shape::kPingPong && turn != consumer) {
                at.skip(num_slices);
                continue;
            }
            turns.before_tile(unit == first);
            const bool is_last = unit + step >= walk.num_units();
            const auto passed = [&](std::uint32_t slice) { turns.passed(slice, is_last); };
            consume(smem, at, walk.at(tma, unit, rank), Shape::kPingPong ? 0 : consumer * 64, passed);
        }
        // Shared memory stays until the bulk stores have read it.
        if (Shape::kBulkStores && kFault != kNoEndWait && threadIdx.x % 32 == 0) cp_async_bulk_wait_group_read<0>();
    }
    tear_down<Shape, kFault>();
}

template <class Shape>
PID_DEVICE void nothing_to_mend(ProductShared<Shape>&, RingAt<Shape>&, const ProductTile&) {}
template <class Shape>
PID_DEVICE void nothing_to_begin(ProductShared<Shape>&) {}

// A grouped product whose A lies by rows, with an epilogue that finds its columns staged; finish(smem, epilogue, rows, tile,
// operands, acc) ends a tile.
template <class Shape, int kFault, template <class> class Epilogue, class Op, class Finish>
PID_DEVICE void multiply_rows(const PidTmaGemm& tma, const Op& op, const Finish& finish) {
    using Shared = ProductShared<Shape>;
    using Staged = StagedEpilogue<Epilogue, Shape>;
    const PidGemm& gemm = op.gemm;
    const std::uint32_t num_slices = (gemm.k + 63) / 64;
    const auto load = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t rank) {
        load_slices<Shape, kFault>(smem, at, RowSource{&tma.a[tile.group], gemm.k, tile}, &tma.b[tile.group], tile.column,
                                   Shape::BLOCK_N, rank);
    };
    const auto consume = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t first_row,
                             const auto& passed) {
        const RowsOfTile rows(tma, gemm, tile);
        if constexpr (Staged::kArrays > 0) stage_columns<Shape, kFault, Staged>(smem, op, tile);
        const Staged epilogue = staged_epilogue<Epilogue, Shape>(smem, op, tile);
        RowOperands<Shape, Staged> operands;
        // By turns they are hidden as it is, and there are no registers for them.
        if (!Shape::kPingPong) fetch_operands<Shape, kFault>(epilogue, rows, tile, operands);
        float acc[Shape::kRowTiles][Shape::BLOCK_N / 2];
        multiply_slices<Shape, Shape::BLOCK_N, kFault>(smem, smem.full, at, num_slices, first_row, acc, passed);
        if (Shape::kPingPong) fetch_operands<Shape, kFault>(epilogue, rows, tile, operands);
        if constexpr (Staged::kArrays > 0) wait_for_columns<kFault>();
        finish(smem, epilogue, rows, tile, operands, acc);
    };
    run_product<Shape, kFault>(tma, gemm, num_slices, num_slices, load, consume, nothing_to_mend<Shape>, nothing_to_begin<Shape>);
}

// The body of most entries: the epilogue ends each row itself.
template <class Shape, int kBlock, int kFault, template <class> class Epilogue, class Op>
PID_DEVICE void gemm_rows(const PidTmaGemm& tma, const Op& op) {
    multiply_rows<Shape, kFault, Epilogue>(
        tma, op, [&](auto&, const auto& epilogue, const RowsOfTile& rows, const ProductTile& tile, const auto& operands, const auto& acc) {
            finish_rows<Shape, kBlock, kFault>(epilogue, op.gemm, rows, tile, operands, acc);
        });
}
