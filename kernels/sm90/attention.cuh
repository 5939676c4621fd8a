// attention: attention.cu's equation and contract on sm_90a, heads of 64 and 72, by warp specialisation.
//   q, k, v [B, heads, N, d] bf16, softmax scale and log2(e) in q;  output [B, N, heads * d] bf16; all by tensor maps
//   scores, weights' sums and output sums in float32, weights rounded to bf16 for the second product
//   grid (ceil((N - query_start) / BLOCK_M), B * heads): query tiles of one head side by side, so that few heads' K and V
//   are in use at a time and stay in L2; block 128 x (1 + consumers); smem and variants: AttentionTile
//   Warpgroup 0 is the producer (one thread issues bulk copies), the others consumers, alike. Registers, not shared
//   memory, hold q and the weights: the products then read 64 bytes a clock of the 128 that shared memory has, K and V once
//   for every 64 queries. d = 72 has two boxes to a row, 64 columns and 8 (the map's bounds fill the rest with zeros):
//   q k^T runs over 80 columns, weights v over 72.
//   A consumer's tensor work is one unit ahead of its softmax: unit u is a row tile by a key tile, and while its weights are
//   made, weights v of unit u - 1 and q k^T of unit u + 1 run. Two buffers of scores take turns, and so do a consumer's two
//   row tiles where it has them.
//   limit: attention.cu's, with 4096 FLOP and 16 ex2 a clock and SM; TUNING.md has the variants' clocks
//   source: FlashAttention-3, arXiv 2407.08608, section 3 (producer, consumers by turns, softmax under products)
#pragma once
#include "attention_tile.cuh"

// ---- producer

template <class T, int kFault>
PID_DEVICE void produce(const PidAttentionSm90Params& params, typename T::Shared& smem) {
    const int head = static_cast<int>(blockIdx.y);
    RingPlace<T::kNumStages> place;
    const auto load = [&](std::uint16_t* slot, const PidTensorMap* map, std::uint64_t* full, int first_row) {
        mbarrier_arrive_expect_tx(full, T::kTileElems * 2);
        PID_UNROLL
        for (int box = 0; box < T::kBoxes; ++box)
            cp_async_bulk_tensor_3d_shared_global(slot + box * T::kKeys * kBoxColumns, map, full, box * kBoxColumns,
                                                  first_row, head);
    };
    for (std::uint32_t first_key = 0; first_key < params.op.tokens; first_key += T::kKeys) {
        const std::uint32_t slot = place.slot;
        // Free: every consumer warp is done with what the slot held. The first round finds all slots free.
        if (kFault != kNoKeySlotWait) mbarrier_wait_parity(&smem.key_empty[slot], place.parity ^ 1);
        load(smem.keys[slot], &params.k, &smem.key_full[slot], static_cast<int>(first_key));
        if (kFault != kNoValueSlotWait) mbarrier_wait_parity(&smem.value_empty[slot], place.parity ^ 1);
        load(smem.values[slot], &params.v, &smem.value_full[slot], static_cast<int>(first_key));
        place.advance();
    }
}

// ---- consumers

template <class T, int kFault>
struct Consumer {
    typename T::Shared& smem;
    std::uint32_t warp;   // of the consumers'
    std::uint32_t group;  // of the consumers
    std::uint32_t lane;
    // Of the first slot; the field of the start address is the lowest and counts 16 bytes.
    std::uint64_t key_descriptor, value_descriptor;
    RingPlace<T::kNumStages> keys, values;
    std::uint32_t value_slot_in_use = 0;

    std::uint32_t q[T::kRowTiles][T::kSteps][4];
    float scores[2][T::kKeys / 2];
    WgmmaWeights<T::kKeys> weights[2];
    float acc[T::kRowTiles][T::kHeadDim / 2] = {};
    WgmmaSoftmax<T::kBounded, T::kPolyShare> softmax[T::kRowTiles];

    PID_DEVICE Consumer(typename T::Shared& shared, std::uint32_t consumer_warp)
        : smem(shared), warp(consumer_warp), group(consumer_warp / 4), lane(threadIdx.x % 32) {
        key_descriptor = wgmma_descriptor(smem.keys[0], 16, 1024, WgmmaSwizzle::bytes_128);
        value_descriptor = wgmma_descriptor(smem.values[0], T::kKeys * 128, 1024, WgmmaSwizzle::bytes_128);
    }

    PID_DEVICE std::uint32_t slab(int row_tile) const {
        return (group * T::kRowTiles + static_cast<std::uint32_t>(row_tile)) * (kRowTile / kSlabRows) + warp % 4;
    }

    // This warp's queries, through shared memory into A fragments. Nobody else touches its slabs.
    PID_DEVICE void load_queries(const PidAttentionSm90Params& params, std::uint32_t first_query) {
        std::uint64_t* full = &smem.query_full[warp];
        constexpr int kLoaded = kFault == kNoZeroColumns ? 1 : T::kBoxes;
        if (elect_one_sync()) {
            mbarrier_arrive_expect_tx(full, kLoaded * T::kRowTiles * kSlabRows * kBoxColumns * 2);
            PID_UNROLL
            for (int i = 0; i < T::kRowTiles; ++i)
                PID_UNROLL
                for (int box = 0; box < kLoaded; ++box)
                    cp_async_bulk_tensor_3d_shared_global(
                        smem.slabs[slab(i)] + box * kSlabRows * kBoxColumns, &params.q, full, box * kBoxColumns,
                        static_cast<int>(first_query + slab(i) * kSlabRows), static_cast<int>(blockIdx.y));
        }
        syncwarp();
        if (kFault != kNoQueryWait) mbarrier_wait_parity(full, 0);
        PID_UNROLL
        for (int i = 0; i < T::kRowTiles; ++i)
            PID_UNROLL
            for (int step = 0; step < T::kSteps; ++step) {
                const std::uint32_t row = lane % 16, chunk = step % 4 * 2 + lane / 16;
                ldmatrix_x4(q[i][step],
                            smem.slabs[slab(i)] + (step / 4 * kSlabRows + row) * kBoxColumns + (chunk ^ row % 8) * 8);
            }
        // Every lane has read: in the end others write their outputs over it.
        syncwarp();
    }

    // By turns, the products of one consumer are issued as a whole, and softmax of another runs beside them.
    PID_DEVICE void wait_for_turn() {
        if (!T::kPingPong) return;
        if (group == 0) bar_sync<kFirstTurn, 256>();
        if (group == 1) bar_sync<kFirstTurn + 1, 256>();
        if (group == 2) bar_sync<kFirstTurn + 2, 256>();
    }
    PID_DEVICE void pass_turn() {
        if (!T::kPingPong) return;
        if (group == T::kConsumers - 1)
            bar_arrive<kFirstTurn, 256>();
        else if (group == 0)
            bar_arrive<kFirstTurn + 1, 256>();
        else
            bar_arrive<kFirstTurn + 2, 256>();
    }

    // One arrival a warp: a warp's products have read the slot when its own wait returns.
    template <int kMissing>
    PID_DEVICE void release(std::uint64_t* empty) {
        if (kFault == kMissing && warp == 4 * T::kConsumers - 1) return;
        if (lane == 0) mbarrier_arrive(empty);
    }

    // scores = q k^T of a row tile and the key tile at `keys`, one group.
    template <int kBuffer, int kRow>
    PID_DEVICE void issue_scores() {
        if (kRow == 0 && kFault != kNoKeyWait) mbarrier_wait_parity(&smem.key_full[keys.slot], keys.parity);
        if (kFault != kNoScoreFence) wgmma_fence(scores[kBuffer]);
        const std::uint64_t tile = key_descriptor + keys.slot * (T::kTileElems * 2 / 16);
        PID_UNROLL
        for (int step = 0; step < T::kSteps; ++step)
            wgmma_m64nNk16_bf16<T::kKeys>(scores[kBuffer], q[kRow][step],
                                          tile + (step / 4 * T::kKeys * 128 + step % 4 * 32) / 16, step > 0);
        wgmma_commit_group();
    }
    // The group issued above is complete but for the kPending newer ones.
    template <int kBuffer, int kRow, int kPending, int kMissing>
    PID_DEVICE void complete_scores() {
        if (kFault != kMissing) wgmma_wait_group<kPending>(scores[kBuffer]);
        if (kRow != T::kRowTiles - 1) return;
        // All row tiles have read this K.
        release<kNoKeyRelease>(&smem.key_empty[keys.slot]);
        keys.advance();
    }

    // acc += weights v of a row tile and the key tile at `values`, one group.
    template <int kBuffer, int kRow>
    PID_DEVICE void issue_outputs() {
        if (kRow == 0 && kFault != kNoValueWait) mbarrier_wait_parity(&smem.value_full[values.slot], values.parity);
        wait_for_turn();
        if (kFault != kNoOutputFence) wgmma_fence(acc[kRow], weights[kBuffer]);
        const std::uint64_t tile = value_descriptor + values.slot * (T::kTileElems * 2 / 16);
        PID_UNROLL
        for (int step = 0; step < T::kKeySteps; ++step)
            wgmma_m64nNk16_bf16<T::kHeadDim, true>(acc[kRow], weights[kBuffer][step], tile + step * 2048 / 16, true);
        wgmma_commit_group();
        value_slot_in_use = values.slot;
        if (kRow == T::kRowTiles - 1) values.advance();
    }

    // Unit u, whose scores are complete in scores[kBuffer]. In flight at its top: weights v of unit u - 1 (`is_first`:
    // none); at its end, those of u. kHasNext: scores of unit u + 1 are started and completed. kIsTail: keys from
    // `num_keys` on are not there.
    template <int kBuffer, bool kHasNext, bool kIsTail>
    PID_DEVICE void unit(bool is_first, std::uint32_t num_keys) {
        constexpr int kRow = T::kRowTiles == 2 ? kBuffer : 0;
        constexpr int kOther = T::kRowTiles == 2 ? 1 - kBuffer : 0;
        if (kHasNext) issue_scores<1 - kBuffer, kOther>();
        pass_turn();

        if (kIsTail && kFault != kNoTailMask) mask_tail<T::kBounded>(scores[kBuffer], num_keys, lane);
        float factor[2];
        const bool grew = softmax[kRow].follow(factor, scores[kBuffer]);
        softmax[kRow].weigh(weights[kBuffer], scores[kBuffer]);

        // Weights v of the unit before are complete: its A registers are free, and, after the last row tile, V's slot.
        if (kFault != kNoOutputWait) wgmma_wait_group<kHasNext ? 1 : 0>(acc[kOther]);
        if (kOther == T::kRowTiles - 1 && !is_first) release<kNoValueRelease>(&smem.value_empty[value_slot_in_use]);
        if (grew) {
            PID_UNROLL
            for (int i = 0; i < T::kHeadDim / 2; ++i) acc[kRow][i] *= factor[i / 2 % 2];
        }
        issue_outputs<kBuffer, kRow>();
        if (kHasNext) complete_scores<1 - kBuffer, kOther, 1, kNoScoreWait>();
    }

    PID_DEVICE void accumulate(std::uint32_t num_tokens) {
        const std::uint32_t num_tiles = (num_tokens + T::kKeys - 1) / T::kKeys;
        const std::uint32_t tail_keys = num_tokens - (num_tiles - 1) * T::kKeys;
        // The first consumer's first turn is given by the last one.
        if (group == T::kConsumers - 1) pass_turn();
        wait_for_turn();
        issue_scores<0, 0>();
        complete_scores<0, 0, 0, kNoFirstScoreWait>();
        if constexpr (T::kRowTiles == 2) {
            for (std::uint32_t tile = 0; tile + 1 < num_tiles; ++tile) {
                unit<0, true, false>(tile == 0, T::kKeys);
                unit<1, true, false>(false, T::kKeys);
            }
            unit<0, true, true>(num_tiles == 1, tail_keys);
            unit<1, false, true>(false, tail_keys);
        } else {
            std::uint32_t tile = 0;
            for (; tile + 2 < num_tiles; tile += 2) {
                unit<0, true, false>(tile == 0, T::kKeys);
                unit<1, true, false>(false, T::kKeys);
            }
            if (tile + 1 < num_tiles) {
                unit<0, true, false>(tile == 0, T::kKeys);
                unit<1, false, true>(false, tail_keys);
            } else {
                unit<0, false, true>(tile == 0, tail_keys);
            }
        }
        if (group != T::kConsumers - 1) pass_turn();
        if (kFault != kNoLastWait) wgmma_wait_group<0>(acc[T::kRowTiles - 1]);
    }

    // Normalizes and stores; a warp's slabs are its own.
    PID_DEVICE void store(const PidAttentionSm90Params& params, std::uint32_t first_query) {
        PID_UNROLL
        for (int i = 0; i < T::kRowTiles; ++i) stage(i);
        // The warp's rows are written, visibly to the bulk store, before one lane starts it.
        if (kFault != kNoStagingFence) fence_proxy_async();
        if (kFault != kNoStagingSync) syncwarp();
        if (lane != 0) return;
        const std::uint32_t sample = blockIdx.y / params.op.heads, head = blockIdx.y - sample * params.op.heads;
        PID_UNROLL
        for (int i = 0; i < T::kRowTiles; ++i)
            // Rows from N on are outside of the map; the box is as wide as a head.
            cp_async_bulk_tensor_3d_global_shared(&params.output, smem.slabs[slab(i)],
                                                  static_cast<int>(head) * T::kHeadDim,
                                                  static_cast<int>(first_query + slab(i) * kSlabRows),
                                                  static_cast<int>(sample));
        cp_async_bulk_commit_group();
        // Shared memory stays until it has been read.
        if (kFault != kNoStoreWait) cp_async_bulk_wait_group_read<0>();
    }

    // A row tile's output to its slab: 128-byte rows, swizzled, or 144-byte rows, whose eight chunks at a time fall into
    // different banks as they are.
    PID_DEVICE void stage(int i) {
        std::uint16_t* rows = smem.slabs[slab(i)];
        const float factor[2] = {softmax[i].normalizer(0), softmax[i].normalizer(1)};
        const auto pair = [&](int at) {
            const float f = factor[at / 2 % 2];
            return cvt_rn_bf16x2(acc[i][at] * f, acc[i][at + 1] * f);
        };
        PID_UNROLL
        for (int n = 0; n < T::kHeadDim / 16; ++n) {
            const std::uint32_t row = lane % 16, chunk = 2 * static_cast<std::uint32_t>(n) + lane / 16;
            const std::uint32_t packed[4] = {pair(8 * n), pair(8 * n + 2), pair(8 * n + 4), pair(8 * n + 6)};
            stmatrix_x4(rows + row * T::kHeadDim + (T::kHeadDim == 64 ? chunk ^ row % 8 : chunk) * 8, packed);
        }
        if (T::kHeadDim % 16 == 0) return;
        constexpr int kLast = T::kHeadDim - 8;
        PID_UNROLL
        for (std::uint32_t r = 0; r < 2; ++r)
            *reinterpret_cast<std::uint32_t*>(rows + (lane / 4 + 8 * r) * T::kHeadDim + kLast + lane % 4 * 2) =
                pair(kLast / 2 + 2 * static_cast<int>(r));
    }
};

// ---- kernel

template <class T, int kFault>
PID_DEVICE void attention_sm90(const PidAttentionSm90Params& params) {
    PID_SHARED(typename T::Shared, smem);
    const std::uint32_t warp = threadIdx.x / 32;
    if (threadIdx.x == 0) {
        // Nothing overlaps with a block's first loads.
        prefetch_tensormap(&params.q);
        prefetch_tensormap(&params.k);
        prefetch_tensormap(&params.v);
        for (int i = 0; i < 4 * T::kConsumers; ++i) mbarrier_init(&smem.query_full[i], 1);
        for (int i = 0; i < T::kNumStages; ++i) {
            mbarrier_init(&smem.key_full[i], 1);
            mbarrier_init(&smem.value_full[i], 1);
            mbarrier_init(&smem.key_empty[i], 4 * T::kConsumers);
            mbarrier_init(&smem.value_empty[i], 4 * T::kConsumers);
        }
        if (kFault != kNoInitFence) fence_mbarrier_init_release_cluster();
    }
    if (kFault != kNoInitSync) syncthreads();
    if (warp < 4) {
        setmaxnreg_dec<T::kProducerRegisters>();
        if (warp == 0 && elect_one_sync()) produce<T, kFault>(params, smem);
    } else {
        setmaxnreg_inc<T::kConsumerRegisters>();
        // Below N + BLOCK_M.
        const std::uint32_t first_query = params.op.query_start + blockIdx.x * T::BLOCK_M;
        Consumer<T, kFault> consumer(smem, warp - 4);
        consumer.load_queries(params, first_query);
        consumer.accumulate(params.op.tokens);
        consumer.store(params, first_query);
    }
}
