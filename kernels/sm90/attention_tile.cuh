// attention_tile: sizes and shared memory of the attention of sm_90a (attention.cuh).
#pragma once
#include "../common/ring.cuh"
#include "../params.h"
#include "attention_softmax.cuh"

// Rows of a slab: one warp's queries of a row tile, and then its part of the output.
constexpr int kSlabRows = 16;
constexpr int kRowTile = 64;
// Elements of a row of a box: 128 bytes, what the swizzle covers.
constexpr int kBoxColumns = 64;

// kConsumers warpgroups of kRowTiles x 64 queries each; key tiles of kKeys in kNumStages slots for K and as many for V.
// kPolyShare of 16 exponentials are polynomials. kPingPong: the consumers issue products by turns.
template <int kHeadDim_, bool kBounded_, int kConsumers_, int kRowTiles_, int kKeys_, int kNumStages_, int kPolyShare_,
          bool kPingPong_>
struct AttentionTile {
    static constexpr int kHeadDim = kHeadDim_, kConsumers = kConsumers_, kRowTiles = kRowTiles_, kKeys = kKeys_;
    static constexpr int kNumStages = kNumStages_, kPolyShare = kPolyShare_;
    static constexpr bool kBounded = kBounded_, kPingPong = kPingPong_;
    static_assert(kHeadDim == 64 || kHeadDim == 72, "boxes and the output's layout are made for these");
    static_assert(kConsumers == 2 || kConsumers == 3, "registers are dealt out for these");
    static_assert(kRowTiles == 1 || kRowTiles == 2, "two buffers of scores take turns");
    static_assert(kKeys % 16 == 0 && kKeys <= 256, "whole steps of the second product, rows of one box");
    static_assert(kNumStages >= 2, "K of the next tile is asked for before V of this one is free");

    static constexpr int BLOCK_M = kConsumers * kRowTiles * kRowTile;
    static constexpr int kThreads = 128 * (1 + kConsumers);
    // Of a thread; all of them together have what the launch gave each.
    static constexpr int kProducerRegisters = kConsumers == 2 ? 24 : 32;
    static constexpr int kConsumerRegisters = kConsumers == 2 ? 240 : 160;
    static_assert(kProducerRegisters + kConsumers * kConsumerRegisters <= (1 + kConsumers) * (65536 / kThreads / 8 * 8),
                  "the SM has 65536");

    // Boxes of 64 columns across a row; columns from kHeadDim on are zeros by the map's bounds.
    static constexpr int kBoxes = (kHeadDim + kBoxColumns - 1) / kBoxColumns;
    // k16 steps of q k^T, and of weights v.
    static constexpr int kSteps = (kHeadDim + 15) / 16;
    static constexpr int kKeySteps = kKeys / 16;
    static constexpr int kSlabElems = kBoxes * kSlabRows * kBoxColumns;
    static constexpr int kTileElems = kBoxes * kKeys * kBoxColumns;
    static constexpr int kNumSlabs = BLOCK_M / kSlabRows;
    static_assert(kKeys % 8 == 0 && kSlabElems * 2 % 1024 == 0, "boxes begin at 1024 bytes");
    static_assert(kSlabRows * kHeadDim <= kSlabElems, "the output takes the place of the queries");

    struct alignas(1024) Shared {
        std::uint16_t slabs[kNumSlabs][kSlabElems];
        std::uint16_t keys[kNumStages][kTileElems];
        std::uint16_t values[kNumStages][kTileElems];
        std::uint64_t query_full[4 * kConsumers];  // by warp
        std::uint64_t key_full[kNumStages], key_empty[kNumStages];
        std::uint64_t value_full[kNumStages], value_empty[kNumStages];
    };
    static_assert(sizeof(Shared) <= 227 * 1024, "what a block may have");
};

// The entry of the attention on this tile.
template <class Tile>
constexpr KernelEntry attention_entry() {
    constexpr const char* kOps[2][2] = {{"attention_online_d64", "attention_online_d72"},
                                        {"attention_bounded_d64", "attention_bounded_d72"}};
    return {kOps[Tile::kBounded][Tile::kHeadDim == 72], "sm90", {Tile::BLOCK_M, Tile::kKeys, Tile::kHeadDim},
            {0, 0}, {Tile::kHeadDim, kSlabRows}, Tile::kNumStages, Tile::kThreads, 1, 1, sizeof(typename Tile::Shared), Tile::kProducerRegisters,
            Tile::kConsumerRegisters, kNeedsWgmma | kNeedsBulkCopies, OperandFormat::bf16, kPlainRows, 1, 1,
            Tile::kPingPong};
}

// Turns of the consumers, one for each; 0 is syncthreads.
enum NamedBarrier : int { kFirstTurn = 1 };

// What a copy of the kernel lacks, for the tests of the tests.
enum AttentionFault : int {
    kSound,
    kNoInitFence,       // of the mbarriers' initialization
    kNoInitSync,
    kNoQueryWait,
    kNoKeyWait,
    kNoValueWait,
    kNoKeySlotWait,     // of the producer
    kNoValueSlotWait,
    kNoKeyRelease,      // by one warp of the last consumer
    kNoValueRelease,
    kNoScoreFence,      // wgmma.fence before the first product
    kNoOutputFence,     // before the second
    kNoFirstScoreWait,  // for the first tile's scores
    kNoScoreWait,       // for the others'
    kNoOutputWait,      // before V's slot is freed and outputs are rescaled
    kNoLastWait,        // before the epilogue
    kNoTailMask,        // of keys beyond N
    kNoZeroColumns,     // q and K beyond column 64 are not loaded (d = 72)
    kNoStagingFence,    // between writing the output tile and its bulk store
    kNoStagingSync,
    kNoStoreWait,       // the block ends while its output is being read
};
