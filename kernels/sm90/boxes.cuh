// boxes: results by bulk stores of whole lines; a thread's own 16-byte stores are half a sector each, or lie by pairs.
//   A warp collects 16 rows of 64 bf16 columns of the output in shared memory, 128-byte swizzle, and one lane has them
//   stored as one box. What lies beyond the segment's rows or the output's columns is outside of the map. Two boxes take
//   turns, so that one is read while the next is filled.
//   Every eight lanes store to all 32 banks: they hold rows r and r + 1, r even, of which chunk c lies at c ^ r % 8. Where a
//   thread has 16 columns they are chunks 2 q + i: even places for one row, odd ones for the other. Where it has 8 of each of
//   two blocks they are chunks q and 4 + q, the same half for both rows, so odd rows store their second block first.
#pragma once
#include "epilogue.cuh"

// Parameters of a product with bulk stores.
template <class Op>
using WithBoxes = WithMaps<Op, PidTmaGemmStores>;

template <class Shape, int kFault, class Epilogue>
struct BoxRows {
    static constexpr std::uint32_t kRows = 16, kColumns = 64;
    static constexpr int kWords = Epilogue::kPackedWords;
    // Blocks of the product's columns in a box.
    static constexpr int kBlocks = 8 / kWords;
    static_assert(CheckedBoxesEpilogue<Epilogue>::value, "");
    static_assert(kWords * kBlocks == 8 && kBlocks <= 2, "a box is one or two blocks");
    static_assert(Shape::kBulkStores && Shape::kRowTiles == 1, "a warp has two boxes, and 16 rows of a tile");
    static_assert(Shape::BLOCK_N / 64 % (2 * kBlocks) == 0, "a tile ends with the second box");

    const Epilogue& epilogue;
    const PidTmaGemmStores& tma;
    const PidGemm& gemm;
    const ProductTile& tile;
    ProductShared<Shape>& smem;
    std::uint32_t packed[2][kBlocks][kWords];

    PID_DEVICE BoxRows(const Epilogue& of, const PidTmaGemmStores& maps, const PidGemm& product, const ProductTile& at,
                       ProductShared<Shape>& shared)
        : epilogue(of), tma(maps), gemm(product), tile(at), smem(shared) {}

    // each_unit's: by blocks, two rows each.
    template <class Fetched>
    PID_DEVICE void operator()(int unit, const RowBlock& of, const Fetched& fetched, float (&v)[16]) {
        const int block = unit / 2 % kBlocks;
        epilogue.pack(of, fetched, v, packed[unit % 2][block]);
        if (unit % 2 == 1 && block == kBlocks - 1)
            store(unit / (2 * kBlocks) % 2, of.column - static_cast<std::uint32_t>(block) * 64);
    }

    // All 32 lanes. column: of the product, where the box begins.
    PID_DEVICE void store(int turn, std::uint32_t column) {
        const std::uint32_t warp = threadIdx.x / 32 - 4, lane = threadIdx.x % 32;
        std::uint16_t* box = smem.box[warp][turn];
        // Free: the store before the last has read it. Each box is a group, one without columns too, so that this counts.
        if (kFault != kNoReuseWait && lane == 0) cp_async_bulk_wait_group_read<1>();
        if (kFault != kNoReuseSync) syncwarp();
        fill(box, lane);
        // The box is written, visibly to the bulk store, before one lane starts it.
        if (kFault != kNoBoxFence) fence_proxy_async();
        if (kFault != kNoBoxSync) syncwarp();
        if (lane == 0) {
            if (column < gemm.n) {
                const BoxPlace place = epilogue.box(tile.segment, column);
                cp_async_bulk_tensor_3d_global_shared(&tma.output[tile.group][place.part], box,
                                                      static_cast<int>(place.column),
                                                      static_cast<int>(tile.row_tile * 128 + warp * kRows),
                                                      static_cast<int>(place.plane));
            }
            cp_async_bulk_commit_group();
        }
    }

    PID_DEVICE void fill(std::uint16_t* box, std::uint32_t lane) const {
        const std::uint32_t q = lane % 4;
        PID_UNROLL
        for (std::uint32_t h = 0; h < 2; ++h) {
            const std::uint32_t row = lane / 4 + 8 * h;
            PID_UNROLL
            for (std::uint32_t i = 0; i < 2; ++i) {
                std::uint32_t words[4], chunk = 2 * q + i;
                if constexpr (kBlocks == 1) {
                    PID_UNROLL
                    for (std::uint32_t w = 0; w < 4; ++w) words[w] = packed[h][0][4 * i + w];
                } else {
                    const std::uint32_t block = i ^ row % 2;
                    chunk = 4 * block + q;
                    PID_UNROLL
                    for (std::uint32_t w = 0; w < 4; ++w) words[w] = block == 0 ? packed[h][0][w] : packed[h][1][w];
                }
                store_packed(box + row * kColumns + (chunk ^ row % 8) * 8, words);
            }
        }
    }
};

// gemm_rows (epilogue.cuh) with bulk stores, where blocks are of 64 columns.
template <class Shape, int kFault, template <class> class Epilogue, class Op>
PID_DEVICE void gemm_boxes(const PidTmaGemmStores& tma, const Op& op) {
    multiply_rows<Shape, kFault, Epilogue>(
        tma.gemm, op, [&](auto& smem, const auto& epilogue, const RowsOfTile& rows, const ProductTile& tile, const auto& operands,
                          const auto& acc) {
            using Rows = BoxRows<Shape, kFault, StagedEpilogue<Epilogue, Shape>>;
            each_block<Shape, 64, kFault>(epilogue, op.gemm, rows, tile, operands, acc, Rows(epilogue, tma, op.gemm, tile, smem));
        });
}
