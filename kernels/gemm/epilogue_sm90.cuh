// epilogue_sm90: a product's kernel on sm_90a around an epilogue of the portable path (epilogue.cuh).
//   wgmma gives thread q of a quad columns 8 j + 2 q and one more of each n-tile j. B's rows are stored so that this is what
//   ColumnOrder asks for: within a block of 64 columns thread q has 16 q .. 16 q + 15 (Consecutive16) or 4 q .. 4 q + 3 of
//   every 16 (Groups16); src/kernels/order.rs.
#pragma once
#include "epilogue.cuh"
#include "product_sm90.cuh"

// Parameters of a product on sm_90a: the bulk copies', then the portable kernel's.
template <class Op, class Maps = PidTmaGemm>
struct alignas(64) WithMaps {
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

// The thread's two rows of a row tile.
struct RowPair {
    Row row[2];
    bool inside[2];
};

template <class Shape, int kFault, class Rows>
PID_DEVICE RowPair row_pair(const Rows& rows, int m) {
    RowPair pair;
    PID_UNROLL
    for (int h = 0; h < 2; ++h) {
        const std::uint32_t index = row_in_tile<Shape>(m, h);
        pair.inside[h] = kFault == kNoRowBound || rows.inside(index);
        pair.row[h] = rows.row(index, pair.inside[h]);
    }
    return pair;
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

// Calls finish(unit, what the epilogue's row() takes) for each of the thread's rows and blocks of kBlock columns: units go
// by block, its two rows one after the other. What the epilogue fetches for the next one is under way.
template <class Shape, int kBlock, int kFault, class Rows, class Epilogue, class Finish>
PID_DEVICE void each_unit(const Epilogue& epilogue, const PidGemm& gemm, const Rows& rows, const ProductTile& tile,
                          const float (&acc)[Shape::kRowTiles][Shape::BLOCK_N / 2], Finish&& finish) {
    constexpr int kUnits = 2 * (Shape::BLOCK_N / kBlock);
    static_assert(Shape::BLOCK_N % kBlock == 0, "a tile is whole blocks of columns");
    const int q = static_cast<int>(threadIdx.x) % 4;
    PID_UNROLL
    for (int m = 0; m < Shape::kRowTiles; ++m) {
        const RowPair pair = row_pair<Shape, kFault>(rows, m);
        const float factor[2] = {epilogue.row_factor(tile.group, pair.row[0], q),
                                 epilogue.row_factor(tile.group, pair.row[1], q)};
        const auto column = [&](int unit) { return tile.column + static_cast<std::uint32_t>(unit / 2 * kBlock); };
        const auto valid = [&](int unit) {
            return pair.inside[unit % 2] && (kFault == kNoColumnBound || column(unit) < gemm.n);
        };
        const auto fetch = [&](int unit) {
            return epilogue.fetch(tile.group, pair.row[unit % 2], valid(unit), column(unit), q);
        };
        constexpr int kAhead = Epilogue::kFetchesAhead;
        typename Epilogue::Fetched fetched[kAhead + 1];
        PID_UNROLL
        for (int unit = 0; unit < kAhead; ++unit) fetched[unit] = fetch(unit);
        PID_UNROLL
        for (int unit = 0; unit < kUnits; ++unit) {
            if (unit + kAhead < kUnits) fetched[(unit + kAhead) % (kAhead + 1)] = fetch(unit + kAhead);
            float v[kBlock / 4];
            take_block(acc[m], unit / 2 * (kBlock / 8), unit % 2, v);
            finish(unit, tile.group, pair.row[unit % 2], valid(unit), factor[unit % 2], column(unit), q,
                   fetched[unit % (kAhead + 1)], v);
        }
    }
}

// The epilogue ends each row itself.
template <class Shape, int kBlock, int kFault, class Rows, class Epilogue>
PID_DEVICE void finish_rows(const Epilogue& epilogue, const PidGemm& gemm, const Rows& rows, const ProductTile& tile,
                            const float (&acc)[Shape::kRowTiles][Shape::BLOCK_N / 2]) {
    each_unit<Shape, kBlock, kFault>(epilogue, gemm, rows, tile, acc, [&](int, auto&&... of) { epilogue.row(of...); });
}

// The kernel: load(smem, at, tile, rank) issues the copies of a tile, consume(smem, at, tile, first_row, passed) multiplies
// and ends it, mend(smem, at, tile) is called by the producer's second warp for each tile. first_slices: of the first
// product of a tile; num_slices: of all its products.
template <class Shape, int kFault, class Load, class Consume, class Mend>
PID_DEVICE void run_product(const PidTmaGemm& tma, const PidGemm& gemm, std::uint32_t first_slices, std::uint32_t num_slices,
                            const Load& load, const Consume& consume, const Mend& mend) {
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

// A grouped product whose A lies by rows; finish(smem, rows, tile, acc) ends a tile.
template <class Shape, int kFault, class Finish>
PID_DEVICE void multiply_rows(const PidTmaGemm& tma, const PidGemm& gemm, const Finish& finish) {
    using Shared = ProductShared<Shape>;
    const std::uint32_t num_slices = (gemm.k + 63) / 64;
    const auto load = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t rank) {
        load_slices<Shape, kFault>(smem, at, RowSource{&tma.a[tile.group], gemm.k, tile}, &tma.b[tile.group], tile.column,
                                   Shape::BLOCK_N, rank);
    };
    const auto consume = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t first_row,
                             const auto& passed) {
        float acc[Shape::kRowTiles][Shape::BLOCK_N / 2];
        multiply_slices<Shape, Shape::BLOCK_N, kFault>(smem, smem.full, at, num_slices, first_row, acc, passed);
        finish(smem, RowsOfTile(tma, gemm, tile), tile, acc);
    };
    run_product<Shape, kFault>(tma, gemm, num_slices, num_slices, load, consume, nothing_to_mend<Shape>);
}

// The same with an epilogue; the body of most entries.
template <class Shape, int kBlock, int kFault, class Epilogue>
PID_DEVICE void gemm_rows(const PidTmaGemm& tma, const PidGemm& gemm, const Epilogue& epilogue) {
    multiply_rows<Shape, kFault>(tma, gemm, [&](auto&, const RowsOfTile& rows, const ProductTile& tile, const auto& acc) {
        finish_rows<Shape, kBlock, kFault>(epilogue, gemm, rows, tile, acc);
    });
}
