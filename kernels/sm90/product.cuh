// product: tiles of D = A B^T by TMA, mbarriers and wgmma; what all products of the sm_90a path share.
//   A [rows, k], B [n, k] bf16 by tensor maps (zeros outside), accumulators float32. k in slices of 64.
//   384 threads: warpgroup 0 is the producer (one thread of it issues the copies), 1 and 2 the consumers. Persistent: a
//   cluster of blocks walks over units, each a tile of 128 rows per block and BLOCK_N columns.
//   Two ways to share the work, a template parameter:
//   - shared: both consumers have the same tile, 64 rows each. Operands are read once for 128 x 256 results: 48 bytes a clock
//     of the tensor cores, of which a cluster of two takes 32 from L2. Consumer 2 starts kLag slices behind and stays there,
//     so that one is in its epilogue while the other has the tensor cores, as far as the ring reaches.
//   - ping-pong: consumers have tiles in turn, 128 rows each; the ring gives them their slices in order. The epilogue of one
//     tile lies under the whole main loop of the next, at 64 bytes a clock (48 with a cluster).
//   A cluster's blocks have neighbouring row tiles and the same columns: each loads its part of B for all (multicast).
//   sm_90a; smem sizeof(ProductShared), one block an SM.
//   source: the structure is that of CUTLASS's sm90 warp-specialised kernels and of FlashAttention-3 (arXiv 2407.08608).
#pragma once
#include "../common/cluster.cuh"
#include "../common/ring.cuh"
#include "../common/rows.cuh"

constexpr std::uint32_t kProductThreads = 384;
constexpr std::uint32_t kSm90SharedBytes = 232448;

// Which faults the variants for the tests have; each removes one wait, release or guard.
enum ProductFault {
    kSoundProduct = 0,
    kNoSlotWait,       // the producer overwrites slices that are still read
    kNoDataWait,       // slices are read before they are there
    kEarlyRelease,     // slots are given back before their products are complete
    kPartRelease,      // one warp of each consumer does not give slots back
    kNoLastWait,       // the epilogue starts before the last products are complete
    kNoRowBound,       // rows beyond the segment are stored
    kNoPeerRelease,    // slots are given back to this block alone, though the peer copies into them
    kNoPeerExit,       // a block ends while its peer still copies into it
    kNoTurns,          // ping-pong consumers begin when they like
    kNoMending,        // border tokens are left as zeros (convolutions)
    kNoMendedFence,    // what was mended is not ordered before wgmma's reads
    kNoMendedWait,     // slices are mended before they are there
    kNoMendedRelease,  // slices are read before they are mended
    kNoMendedBarrier,  // a slice counts as mended when one lane is done with it
    kNoChannelBound,   // border tokens are mended with the next token's channels, too
    kNoColumnBound,    // columns beyond the last are stored
    kNoFence,          // the accumulators are not handed over to wgmma
    kNoBarrierFence,   // copies may find barriers that are not initialised
    kNoSetUpBarrier,   // barriers are used before they are initialised
    kNoBoxFence,       // what is staged for a bulk store is not ordered before its reads
    kNoBoxSync,        // the bulk store begins before all lanes have staged their part
    kNoReuseWait,      // a box is staged over one that is still read
    kNoReuseSync,      // lanes do not learn that a box has been read
    kNoEndWait,        // the block ends while bulk stores read its shared memory
    kNoStagedReuse,    // what is staged for a tile is overwritten while some still read the last tile's
    kNoStagedWait,     // what is staged is read before it is there
    kNoStagedSync,     // threads read what others have staged, without a barrier
};

// kStaged: bytes of shared memory that the epilogue has beside the ring.
template <int kColumns, bool kIsPingPong, int kBlocks, int kRegistersToLoad = 24, bool kStoresBoxes = false,
          std::uint32_t kStaged = 0>
struct ProductShape {
    static constexpr int BLOCK_M = 128, BLOCK_N = kColumns, BLOCK_K = 64;
    static constexpr bool kPingPong = kIsPingPong;
    static constexpr int kCluster = kBlocks;
    // Of a thread after setmaxnreg: together the 384 * 168 that the launch has.
    static constexpr int kProducerRegisters = kRegistersToLoad;
    static constexpr int kConsumerRegisters = (504 - kProducerRegisters) / 2;
    static_assert(kConsumerRegisters % 8 == 0, "setmaxnreg takes multiples of 8");
    // Row tiles of 64 that a consumer holds.
    static constexpr int kRowTiles = kPingPong ? 2 : 1;
    static constexpr std::uint32_t kStageBytes = (BLOCK_M + BLOCK_N) * BLOCK_K * 2;
    // Whether results leave by bulk stores (boxes.cuh), from two boxes of each warp.
    static constexpr bool kBulkStores = kStoresBoxes;
    static constexpr std::uint32_t kBoxBytes = kBulkStores ? 8 * 2 * 2048 : 0;
    static constexpr std::uint32_t kStagedBytes = kStaged;
    // A stage's three barriers count with it.
    static constexpr std::uint32_t kStages = (kSm90SharedBytes - kBoxBytes - kStagedBytes) / (kStageBytes + 24);
    static_assert(kStagedBytes % 16 == 0, "copies are of 16 bytes");
    static constexpr std::uint32_t kReleases = (kPingPong ? 4 : 8) * kCluster;
    // How many slices consumer 2 stays behind, where both share a tile.
    static constexpr std::uint32_t kLag = kStages - 1;
    static_assert(BLOCK_N % 8 == 0 && BLOCK_N <= 256, "wgmma: N is a multiple of 8 up to 256");
    static_assert(kRowTiles * BLOCK_N <= 288, "accumulators are at most 144 registers");
    static_assert(BLOCK_N / kCluster % 8 == 0, "each block loads whole swizzle patterns of 8 rows");
    static_assert(kStages >= 3, "two slices in flight and one being read");
};

// A box of results of a bulk store: rows of a warp, and 128 bytes of each.
constexpr std::uint32_t kBoxRows = 16, kBoxColumns = 64;

// What boxes are staged in, swizzled; two for each consumer warp.
template <bool kBulkStores>
struct StagedBoxes {};
template <>
struct StagedBoxes<true> {
    alignas(1024) std::uint16_t box[8][2][kBoxRows * kBoxColumns];
};

// What the epilogue has staged: a part for each consumer.
template <std::uint32_t kBytes>
struct StagedOperands {
    alignas(16) unsigned char staged[kBytes];
};
template <>
struct StagedOperands<0> {};

template <class Shape>
struct alignas(1024) ProductShared : StagedBoxes<Shape::kBulkStores> {
    struct alignas(1024) Stage {
        std::uint16_t a[Shape::BLOCK_M * Shape::BLOCK_K];
        std::uint16_t b[Shape::BLOCK_N * Shape::BLOCK_K];
    };
    Stage stage[Shape::kStages];
    std::uint64_t full[Shape::kStages], empty[Shape::kStages];
    // Full, and mended by the producer's second warp, where a product needs that.
    std::uint64_t mended[Shape::kStages];
    StagedOperands<Shape::kStagedBytes> operands;
};

// The entry of a product on this tile, whose columns are multiples of 64 or of a head of 72 (or of what with_n_multiple says).
template <class Shape>
constexpr KernelEntry product_entry(const char* op, StoredRows stored) {
    return {op, "sm90", {Shape::BLOCK_M, Shape::BLOCK_N, Shape::BLOCK_K}, {0, 0},
            {Shape::kBulkStores ? kBoxColumns : 0, Shape::kBulkStores ? kBoxRows : 0}, Shape::kStages, kProductThreads, 1,
            Shape::kCluster, sizeof(ProductShared<Shape>), Shape::kProducerRegisters, Shape::kConsumerRegisters,
            kNeedsWgmma | kNeedsBulkCopies | (Shape::kCluster > 1 ? kNeedsMulticast : 0u), OperandFormat::bf16, stored,
            stored.block == 72 ? 72u : 64u, 8, Shape::kPingPong};
}

// A tile of one block.
struct ProductTile {
    int group;
    std::uint32_t segment;
    std::uint32_t row_tile;  // within the segment
    std::uint32_t column;
};

// Units go down bands of row tiles, column by column, so that the blocks at work share A's rows and B's columns in L2.
template <class Shape>
struct ProductWalk {
    static constexpr std::uint32_t kBand = 16 / Shape::kCluster;
    std::uint32_t first_rows, num_rows, num_columns;  // row units of the first group, of both; column tiles

    PID_DEVICE ProductWalk(const PidTmaGemm& tma, const PidGemm& gemm) {
        first_rows = tma.segments[0] * tma.segment_tiles[0] / Shape::kCluster;
        num_rows = first_rows + (gemm.num_groups == 2 ? tma.segments[1] * tma.segment_tiles[1] / Shape::kCluster : 0);
        num_columns = (gemm.n + Shape::BLOCK_N - 1) / Shape::BLOCK_N;
    }

    PID_DEVICE std::uint32_t num_units() const { return num_rows * num_columns; }

    PID_DEVICE ProductTile at(const PidTmaGemm& tma, std::uint32_t unit, std::uint32_t rank) const {
        const std::uint32_t band = unit / (kBand * num_columns), within = unit - band * kBand * num_columns;
        const std::uint32_t height = num_rows - band * kBand < kBand ? num_rows - band * kBand : kBand;
        const std::uint32_t row_unit = band * kBand + within % height;
        const int group = row_unit < first_rows ? 0 : 1;
        const std::uint32_t tile = (row_unit - (group == 0 ? 0 : first_rows)) * Shape::kCluster + rank;
        const std::uint32_t segment = tile / tma.segment_tiles[group];
        return {group, segment, tile - segment * tma.segment_tiles[group], within / height * Shape::BLOCK_N};
    }
};

// Of the ring of stages.
template <class Shape>
using RingAt = RingPlace<Shape::kStages>;

PID_DEVICE std::uint32_t warpgroup_of_thread() { return static_cast<std::uint32_t>(threadIdx.x) / 128; }

// Named barriers; 0 is syncthreads.
enum ProductBarrier { kStart = 1, kFirstsTurn, kSecondsTurn, kFirstsOwn, kSecondsOwn };

// The threads of one consumer.
PID_DEVICE void consumer_sync() {
    if (warpgroup_of_thread() == 1)
        bar_sync<kFirstsOwn, 128>();
    else
        bar_sync<kSecondsOwn, 128>();
}

template <class Shape>
PID_DEVICE std::uint32_t rank_in_cluster() {
    if constexpr (Shape::kCluster == 1)
        return 0;
    else
        return cluster_ctarank();
}

// Barriers ready in all blocks of the cluster.
template <class Shape, int kFault>
PID_DEVICE void set_up(ProductShared<Shape>& smem) {
    if (threadIdx.x == 0) {
        for (std::uint32_t i = 0; i < Shape::kStages; ++i) {
            mbarrier_init(&smem.full[i], 1);
            mbarrier_init(&smem.mended[i], 1);
            mbarrier_init(&smem.empty[i], Shape::kReleases);
        }
        if (kFault != kNoBarrierFence) fence_mbarrier_init_release_cluster();
    }
    if (kFault == kNoSetUpBarrier) return;
    if constexpr (Shape::kCluster == 1)
        syncthreads();
    else
        cluster_sync();
}

// All threads, at the end: this block's shared memory stays until no peer copies or arrives there.
template <class Shape, int kFault>
PID_DEVICE void tear_down() {
    if constexpr (Shape::kCluster > 1)
        if (kFault != kNoPeerExit) cluster_sync();
}

// ---- producer: one thread

// Loads the slices of one product; a source says where they lie: num_slices(), load_a(to, bar, slice), b_column(slice).
// The tile has `columns` columns of B from `column` on.
template <class Shape, int kFault, class Source>
PID_DEVICE void load_slices(ProductShared<Shape>& smem, RingAt<Shape>& at, const Source& source, const PidTensorMap* b,
                            std::uint32_t column, std::uint32_t columns, std::uint32_t rank) {
    for (std::uint32_t slice = 0; slice < source.num_slices(); ++slice, at.advance()) {
        auto& stage = smem.stage[at.slot];
        std::uint64_t* full = &smem.full[at.slot];
        // Free: the consumers of all blocks of the cluster have read what the slot held.
        if (kFault != kNoSlotWait) mbarrier_wait_parity(&smem.empty[at.slot], at.parity ^ 1);
        mbarrier_arrive_expect_tx(full, (Shape::BLOCK_M + columns) * Shape::BLOCK_K * 2);
        source.load_a(stage.a, full, slice);
        const int k = static_cast<int>(source.b_column(slice));
        if constexpr (Shape::kCluster == 1) {
            cp_async_bulk_tensor_2d_shared_global(stage.b, b, full, k, static_cast<int>(column));
        } else {
            const std::uint32_t first = rank * (columns / Shape::kCluster);
            cp_async_bulk_tensor_2d_shared_global_multicast(stage.b + first * Shape::BLOCK_K, b, full,
                                                            static_cast<std::uint16_t>((1u << Shape::kCluster) - 1), k,
                                                            static_cast<int>(column + first));
        }
    }
}

// ---- consumers: a warpgroup

// Gives a slot back, one arrival a warp, to the producers of all blocks of the cluster.
template <class Shape, int kFault>
PID_DEVICE void release_slot(ProductShared<Shape>& smem, std::uint32_t slot) {
    const std::uint32_t lane = threadIdx.x % 32;
    if (kFault == kPartRelease && threadIdx.x / 32 % 4 == 3) return;
    if constexpr (Shape::kCluster == 1) {
        if (lane == 0) mbarrier_arrive(&smem.empty[slot]);
    } else {
        if (lane < Shape::kCluster && (kFault != kNoPeerRelease || lane == cluster_ctarank()))
            mbarrier_arrive_cluster(&smem.empty[slot], lane);
    }
}

template <int kRowTiles, int kCount>
PID_DEVICE void fence_accumulators(float (&acc)[kRowTiles][kCount]) {
    if constexpr (kRowTiles == 1)
        wgmma_fence(acc[0]);
    else
        wgmma_fence(acc[0], acc[1]);
}

template <int kPending, int kRowTiles, int kCount>
PID_DEVICE void wait_accumulators(float (&acc)[kRowTiles][kCount]) {
    if constexpr (kRowTiles == 1)
        wgmma_wait_group<kPending>(acc[0]);
    else
        wgmma_wait_group<kPending>(acc[0], acc[1]);
}

// acc = A B^T over `num_slices` slices of the ring. ready: smem.full or smem.mended; first_row: of the consumer in the stage's
// A; passed(slice): called after each.
template <class Shape, int kN, int kFault, class Passed>
PID_DEVICE void multiply_slices(ProductShared<Shape>& smem, std::uint64_t* ready, RingAt<Shape>& at,
                                std::uint32_t num_slices, std::uint32_t first_row,
                                float (&acc)[Shape::kRowTiles][kN / 2], const Passed& passed) {
    std::uint32_t before = 0;
    for (std::uint32_t slice = 0; slice < num_slices; ++slice, at.advance()) {
        const auto& stage = smem.stage[at.slot];
        if (kFault != kNoDataWait) mbarrier_wait_parity(&ready[at.slot], at.parity);
        if (kFault != kNoFence) fence_accumulators(acc);
        PID_UNROLL
        for (int step = 0; step < Shape::BLOCK_K / 16; ++step) {
            const std::uint64_t b = wgmma_descriptor(stage.b + step * 16, 16, 1024, WgmmaSwizzle::bytes_128);
            PID_UNROLL
            for (int m = 0; m < Shape::kRowTiles; ++m)
                wgmma_m64nNk16_bf16<kN>(acc[m],
                                        wgmma_descriptor(stage.a + (first_row + m * 64) * Shape::BLOCK_K + step * 16, 16,
                                                         1024, WgmmaSwizzle::bytes_128),
                                        b, slice > 0 || step > 0);
        }
        wgmma_commit_group();
        if (kFault == kEarlyRelease) release_slot<Shape, kFault>(smem, at.slot);
        // The products of the slice before are complete; these go on.
        wait_accumulators<1>(acc);
        if (kFault != kEarlyRelease && slice > 0) release_slot<Shape, kFault>(smem, before);
        before = at.slot;
        passed(slice);
    }
    if (kFault != kNoLastWait) wait_accumulators<0>(acc);
    if (kFault != kEarlyRelease) release_slot<Shape, kFault>(smem, before);
}

// When a consumer may begin a tile.
//   Shared tiles: consumer 2 is held back until consumer 1 is kLag slices into its first tile; later ones keep the distance.
//   Ping-pong: not before the other has seen all slices of the tile before. A parity tells two uses of a slot apart, not
//   three: who has not seen one would take the data of the use before it for the next one's.
template <class Shape, int kFault>
struct Turns {
    static constexpr std::uint32_t kNever = 0xffffffffu;
    std::uint32_t last;  // slice at which the other consumer is let go

    PID_DEVICE explicit Turns(std::uint32_t num_slices) {
        last = Shape::kPingPong || num_slices < Shape::kLag ? num_slices - 1 : Shape::kLag - 1;
    }
    PID_DEVICE void before_tile(bool is_first) {
        if (Shape::kPingPong) {
            if (is_first || kFault == kNoTurns) return;
            if (warpgroup_of_thread() == 1)
                bar_sync<kFirstsTurn, 256>();
            else
                bar_sync<kSecondsTurn, 256>();
        } else if (last != kNever && warpgroup_of_thread() == 2) {
            bar_sync<kStart, 256>();
            last = kNever;
        }
    }
    PID_DEVICE void passed(std::uint32_t slice, bool is_last_tile) {
        if (slice != last) return;
        if (!Shape::kPingPong) {
            bar_arrive<kStart, 256>();
            last = kNever;
        } else if (!is_last_tile && kFault != kNoTurns) {
            if (warpgroup_of_thread() == 1)
                bar_arrive<kSecondsTurn, 256>();
            else
                bar_arrive<kFirstsTurn, 256>();
        }
    }
};
