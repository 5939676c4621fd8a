// attention: output[b, i, h, :] = sum_j w[j] v[b, h, j, :] / sum_j w[j],  w[j] = 2^(q[b, h, i, :] . k[b, h, j, :])
//   q, k, v [B, heads, N, d] bf16, softmax scale and log2(e) in q;  output [B, N, heads * d] bf16; rows 16-byte aligned
//   d = 64 or 72, any N >= 1; queries from query_start < N on are computed, over all keys; no mask
//   scores, weights' sums and output sums in float32, weights rounded to bf16 for the second product
//   online: any finite scores (running maximum);  bounded: |score| <= 100, guaranteed by the caller (no maximum)
//   sm_80+; grid (ceil((N - query_start) / 128), B * heads), query tiles of one head side by side so that they share K
//   and V in L2; block 128: four warps x 32 queries, key tiles of 64; smem 36864 (d = 64) or 45056 bytes (d = 72)
//   registers of a thread: 64 scores, d outputs, 32 or 40 of q; two blocks an SM allow 255
//   limit: tensor cores, 4 B heads (N - query_start) N d FLOP (d = 72 runs 1/18 more, q k^T over 80 columns);
//   at least 4 B heads (2 N - query_start) d bytes, and K and V out of L2 once per query tile
//   source: FlashAttention-2, arXiv 2307.08691, algorithm 1 and section 3.3
#include <type_traits>

#include "../params.h"
#include "softmax.cuh"

namespace {

constexpr int BLOCK_M = 128;
constexpr int BLOCK_N = 64;
constexpr int kNumThreads = 128;
constexpr int kWarpRows = 16 * kRowTiles;
constexpr int kNumStages = 2;
static_assert(kNumThreads / 32 * kWarpRows == BLOCK_M, "each warp has its own rows of the query tile");
static_assert(BLOCK_N == 8 * kKeyTiles, "a warp's scores span the key tile");

// What a copy of the kernel lacks, for the tests of the tests.
enum Fault : int {
    kSound,
    kNoKeyWait,
    kNoValueWait,
    kNoQueryWait,
    kNoKeyBarrier,
    kNoValueBarrier,
    kNoQueryBarrier,
    kNoQueryRelease,   // barrier between the last read of q and the first copy of V over it
    kNoSlotRelease,    // slots are refilled ahead of the barrier that frees them
    kNoTailMask,       // of keys beyond N
    kNoTailGuard,      // keys beyond N are read
    kNoQueryGuard,     // queries beyond N are read
    kNoRowGuard,       // and stored
    kNoStagingSync,    // of a warp between writing and reading its output tile
    kNoZeroColumns,    // of q and K beyond d (d = 72)
};

template <int kHeadDim>
struct Tile {
    static_assert(kHeadDim == 64 || kHeadDim == 72, "register use is known for these alone");
    // k16 steps of q k^T (columns beyond kHeadDim are zeros) and n8 tiles of the output.
    static constexpr int kSteps = (kHeadDim + 15) / 16;
    static constexpr int kTiles = kHeadDim / 8;
    // n8 tiles of V in registers at a time.
    static constexpr int kGroup = kTiles % 4 == 0 ? 4 : 3;
    static_assert(kTiles % kGroup == 0, "groups cover the output");
    static constexpr int kStride = 16 * kSteps + 8;
    static_assert(kTiles == 8 || kTiles == 9, "rows are copied as eight chunks and perhaps one more");
    static_assert(kStride / 8 % 2 == 1, "eight rows of 16 bytes fall into different banks when the stride is odd");
    static constexpr int kTileElems = BLOCK_N * kStride;

    struct alignas(16) Shared {
        std::uint16_t keys[kNumStages * kTileElems];    // in the end the output tile
        std::uint16_t values[kNumStages * kTileElems];  // before the first V, the query tile
    };
    static_assert(kNumStages * BLOCK_N == BLOCK_M, "query and output tiles take the place of two key tiles");
    static_assert(sizeof(Shared) <= 49 * 1024, "two blocks fit an SM with 100 KB");

    using Queries = std::uint32_t[kRowTiles][kSteps][4];
    using Outputs = float[kRowTiles][kTiles][4];
};

// Starts copying kRows rows to shared memory, zeros in place of rows from `num_rows` (at least 1) on. All threads.
// Eight lanes a row, then the ninth chunk of every row: one base address and constants, where a plain list of d = 72's
// chunks takes a division and a register for each.
template <int kHeadDim, int kRows, bool kGuard>
PID_DEVICE void copy_rows(std::uint16_t* smem, const std::uint16_t* from, std::uint32_t num_rows) {
    const auto copy = [&](std::uint32_t row, std::uint32_t column) {
        const bool in_range = !kGuard || row < num_rows;
        cp_async_cg_16(smem + row * Tile<kHeadDim>::kStride + column, from + (in_range ? row * kHeadDim : 0) + column,
                       in_range ? 16 : 0);
    };
    PID_UNROLL
    for (std::uint32_t row = 0; row < kRows; row += kNumThreads / 8) copy(row + threadIdx.x / 8, threadIdx.x % 8 * 8);
    if (kHeadDim > 64 && threadIdx.x < kRows) copy(threadIdx.x, 64);
}

// Columns that no copy writes and q k^T reads, in the query tile and both key tiles.
template <int kHeadDim>
PID_DEVICE void zero_columns(typename Tile<kHeadDim>::Shared& smem) {
    if constexpr (kHeadDim % 16 != 0) {
        const std::uint32_t offset = threadIdx.x * Tile<kHeadDim>::kStride + kHeadDim;
        *reinterpret_cast<uint4*>(smem.keys + offset) = make_uint4(0, 0, 0, 0);
        *reinterpret_cast<uint4*>(smem.values + offset) = make_uint4(0, 0, 0, 0);
    }
}

template <int kHeadDim>
PID_DEVICE void load_queries(typename Tile<kHeadDim>::Queries& q, const std::uint16_t* smem_queries,
                             std::uint32_t lane) {
    PID_UNROLL
    for (int i = 0; i < kRowTiles; ++i)
        PID_UNROLL
        for (int step = 0; step < Tile<kHeadDim>::kSteps; ++step)
            ldmatrix_x4(q[i][step],
                        smem_queries + (16 * i + lane % 16) * Tile<kHeadDim>::kStride + 16 * step + lane / 16 * 8);
}

// scores = q k^T.
template <int kHeadDim>
PID_DEVICE void multiply_keys(Scores& scores, const typename Tile<kHeadDim>::Queries& q, const std::uint16_t* smem_keys,
                              std::uint32_t lane) {
    PID_UNROLL
    for (int i = 0; i < kRowTiles; ++i)
        PID_UNROLL
        for (int j = 0; j < kKeyTiles; ++j)
            PID_UNROLL
            for (int e = 0; e < 4; ++e) scores[i][j][e] = 0.0f;
    // This lane's row of matrices (keys 0-7, columns 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
    const std::uint16_t* row = smem_keys + (lane / 16 * 8 + lane % 8) * Tile<kHeadDim>::kStride + lane / 8 % 2 * 8;
    PID_UNROLL
    for (int step = 0; step < Tile<kHeadDim>::kSteps; ++step)
        PID_UNROLL
        for (int pair = 0; pair < kKeyTiles / 2; ++pair) {
            std::uint32_t k[4];
            ldmatrix_x4(k, row + 16 * pair * Tile<kHeadDim>::kStride + 16 * step);
            PID_UNROLL
            for (int half = 0; half < 2; ++half) {
                const std::uint32_t b[2] = {k[2 * half], k[2 * half + 1]};
                PID_UNROLL
                for (int i = 0; i < kRowTiles; ++i) mma_m16n8k16_bf16(scores[i][2 * pair + half], q[i][step], b);
            }
        }
}

// acc += weights v.
template <int kHeadDim>
PID_DEVICE void multiply_values(typename Tile<kHeadDim>::Outputs& acc, const Weights& weights,
                                const std::uint16_t* smem_values, std::uint32_t lane) {
    constexpr int kGroup = Tile<kHeadDim>::kGroup;
    PID_UNROLL
    for (int half = 0; half < BLOCK_N / 32; ++half)
        PID_UNROLL
        for (int first = 0; first < Tile<kHeadDim>::kTiles; first += kGroup) {
            // 32 keys of one n8 tile each, so that an odd number of tiles is as good as an even one.
            std::uint32_t v[kGroup][4];
            PID_UNROLL
            for (int g = 0; g < kGroup; ++g)
                ldmatrix_x4_trans(v[g], smem_values + (32 * half + lane) * Tile<kHeadDim>::kStride + 8 * (first + g));
            PID_UNROLL
            for (int step = 0; step < 2; ++step)
                PID_UNROLL
                for (int g = 0; g < kGroup; ++g) {
                    const std::uint32_t b[2] = {v[g][2 * step], v[g][2 * step + 1]};
                    PID_UNROLL
                    for (int i = 0; i < kRowTiles; ++i)
                        mma_m16n8k16_bf16(acc[i][first + g], weights[i][2 * half + step], b);
                }
        }
}

// Normalizes a warp's rows and stores those below `num_rows`. Through shared memory: a warp then writes whole rows, 16
// bytes a lane; from the fragments it would write 16-byte pieces of eight rows at a time, half a sector each.
template <int kHeadDim, int kFault>
PID_DEVICE void store_output(std::uint16_t* output, std::size_t row_stride, std::uint32_t num_rows,
                             std::uint16_t* smem_rows, const typename Tile<kHeadDim>::Outputs& acc,
                             const WeightSums& sums, std::uint32_t lane) {
    PID_UNROLL
    for (int i = 0; i < kRowTiles; ++i)
        PID_UNROLL
        for (int r = 0; r < 2; ++r) {
            const float factor = sums.normalizer(i, r);
            std::uint16_t* row = smem_rows + (16 * i + 8 * r + lane / 4) * Tile<kHeadDim>::kStride + lane % 4 * 2;
            PID_UNROLL
            for (int n = 0; n < Tile<kHeadDim>::kTiles; ++n)
                *reinterpret_cast<std::uint32_t*>(row + 8 * n) =
                    cvt_rn_bf16x2(acc[i][n][2 * r] * factor, acc[i][n][2 * r + 1] * factor);
        }
    // The warp's rows are written before other lanes read them.
    if (kFault != kNoStagingSync) syncwarp();
    constexpr std::uint32_t kRowChunks = kHeadDim / 8;
    PID_UNROLL
    for (std::uint32_t i = 0; i < kRowChunks; ++i) {
        const std::uint32_t chunk = 32 * i + lane;
        const std::uint32_t row = chunk / kRowChunks, column = chunk % kRowChunks * 8;
        if (kFault != kNoRowGuard && row >= num_rows) continue;
        *reinterpret_cast<uint4*>(output + row * row_stride + column) =
            *reinterpret_cast<const uint4*>(smem_rows + row * Tile<kHeadDim>::kStride + column);
    }
}

template <int kHeadDim, bool kBounded, int kFault>
PID_DEVICE void attention(const PidAttentionParams& params) {
    using T = Tile<kHeadDim>;
    PID_SHARED(typename T::Shared, smem);
    const std::uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const std::uint32_t num_tokens = params.tokens;
    // Below num_tokens + BLOCK_M.
    const std::uint32_t first_query = params.query_start + blockIdx.x * BLOCK_M;
    // 64-bit: a head's first element can lie beyond 2^31.
    const std::size_t head_offset = static_cast<std::size_t>(blockIdx.y) * num_tokens * kHeadDim;

    // K or V of tile `tile`, one group; an empty one beyond the last tile, so that waits count alike.
    const std::uint32_t num_tiles = (num_tokens + BLOCK_N - 1) / BLOCK_N;
    const auto copy_tile = [&](std::uint16_t* slots, const std::uint16_t* from, std::uint32_t tile) {
        if (tile < num_tiles)
            copy_rows<kHeadDim, BLOCK_N, kFault != kNoTailGuard>(
                slots + tile % kNumStages * T::kTileElems,
                from + head_offset + static_cast<std::size_t>(tile) * BLOCK_N * kHeadDim, num_tokens - tile * BLOCK_N);
        cp_async_commit_group();
    };

    // Prologue: q into registers through the place of V.
    if (kFault != kNoZeroColumns) zero_columns<kHeadDim>(smem);
    const std::uint16_t* queries = params.q + head_offset + static_cast<std::size_t>(first_query) * kHeadDim;
    copy_rows<kHeadDim, BLOCK_M, kFault != kNoQueryGuard>(smem.values, queries, num_tokens - first_query);
    cp_async_commit_group();
    copy_tile(smem.keys, params.k, 0);
    // q has landed (K of tile 0 may be in flight), for all threads; the zero columns with it.
    if (kFault != kNoQueryWait) cp_async_wait_group<1>();
    if (kFault != kNoQueryBarrier) syncthreads();
    typename T::Queries q;
    load_queries<kHeadDim>(q, smem.values + warp * kWarpRows * T::kStride, lane);
    // All warps have read q: V may take its place.
    if (kFault != kNoQueryRelease) syncthreads();
    copy_tile(smem.values, params.v, 0);

    // Mainloop. In flight at its top: K and V of this tile.
    std::conditional_t<kBounded, BoundedSoftmax, OnlineSoftmax> softmax;
    typename T::Outputs acc = {};
    for (std::uint32_t tile = 0; tile < num_tiles; ++tile) {
        const auto copy_next = [&] {
            copy_tile(smem.keys, params.k, tile + 1);
            copy_tile(smem.values, params.v, tile + 1);
        };
        if (kFault != kNoKeyWait) cp_async_wait_group<1>();
        if (kFault == kNoSlotRelease) copy_next();
        // K of this tile is there for all threads, and all warps are done with both slots of the previous tile, which
        // the next tile's copies refill.
        if (kFault != kNoKeyBarrier) syncthreads();
        if (kFault != kNoSlotRelease) copy_next();
        Scores scores;
        multiply_keys<kHeadDim>(scores, q, smem.keys + tile % kNumStages * T::kTileElems, lane);
        const std::uint32_t num_keys = num_tokens - tile * BLOCK_N;
        if (kFault != kNoTailMask && num_keys < BLOCK_N) mask_tail(scores, num_keys, lane);
        Weights weights;
        softmax.weigh_tile(weights, scores, acc);
        // V of this tile is there for all threads (the next tile's K and V may be in flight).
        if (kFault != kNoValueWait) cp_async_wait_group<2>();
        if (kFault != kNoValueBarrier) syncthreads();
        multiply_values<kHeadDim>(acc, weights, smem.values + tile % kNumStages * T::kTileElems, lane);
    }
    // Only empty groups are left.
    cp_async_wait_group<0>();

    // Epilogue, in the place of K: since the last barrier nobody reads it.
    const std::uint32_t sample = blockIdx.y / params.heads, head = blockIdx.y - sample * params.heads;
    const std::uint32_t first_row = first_query + warp * kWarpRows;
    const std::size_t row_stride = static_cast<std::size_t>(params.heads) * kHeadDim;
    std::uint16_t* output =
        params.output + (static_cast<std::size_t>(sample) * num_tokens + first_row) * row_stride + head * kHeadDim;
    store_output<kHeadDim, kFault>(output, row_stride, first_row < num_tokens ? num_tokens - first_row : 0,
                                   smem.keys + warp * kWarpRows * T::kStride, acc, softmax, lane);
}

template <int kHeadDim>
constexpr KernelEntry entry(const char* op) {
    return {op, "portable", {BLOCK_M, BLOCK_N, kHeadDim}, {0, 0}, {0, 0}, kNumStages, kNumThreads, 2, 1,
            sizeof(typename Tile<kHeadDim>::Shared), 0, 0, kNeedsBf16Mma, OperandFormat::bf16, kPlainRows, 1, 1, 0};
}

}  // namespace

PID_KERNEL(attention_online_d64, PidAttentionParams, entry<64>("attention_online_d64")) { attention<64, false, kSound>(params); }
PID_KERNEL(attention_online_d72, PidAttentionParams, entry<72>("attention_online_d72")) { attention<72, false, kSound>(params); }
PID_KERNEL(attention_bounded_d64, PidAttentionParams, entry<64>("attention_bounded_d64")) { attention<64, true, kSound>(params); }
PID_KERNEL(attention_bounded_d72, PidAttentionParams, entry<72>("attention_bounded_d72")) { attention<72, true, kSound>(params); }

PID_FAULT(attention_online_d64, no_key_wait, attention<64, false, kNoKeyWait>)
PID_FAULT(attention_online_d64, no_value_wait, attention<64, false, kNoValueWait>)
PID_FAULT(attention_online_d64, no_query_wait, attention<64, false, kNoQueryWait>)
PID_FAULT(attention_online_d64, no_key_barrier, attention<64, false, kNoKeyBarrier>)
PID_FAULT(attention_online_d64, no_value_barrier, attention<64, false, kNoValueBarrier>)
PID_FAULT(attention_online_d64, no_query_barrier, attention<64, false, kNoQueryBarrier>)
PID_FAULT(attention_online_d64, no_query_release, attention<64, false, kNoQueryRelease>)
PID_FAULT(attention_online_d64, no_slot_release, attention<64, false, kNoSlotRelease>)
PID_FAULT(attention_online_d64, no_tail_mask, attention<64, false, kNoTailMask>)
PID_FAULT(attention_online_d64, no_tail_guard, attention<64, false, kNoTailGuard>)
PID_FAULT(attention_online_d64, no_query_guard, attention<64, false, kNoQueryGuard>)
PID_FAULT(attention_online_d64, no_row_guard, attention<64, false, kNoRowGuard>)
PID_FAULT(attention_online_d64, no_staging_sync, attention<64, false, kNoStagingSync>)
PID_FAULT(attention_online_d72, no_zero_columns, attention<72, false, kNoZeroColumns>)
