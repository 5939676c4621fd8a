// tile: one 128-row tile of D = A B^T by cp.async, ldmatrix and mma.sync; what all products of the portable path share.
//   A [rows, k] bf16 (or what a loader makes of it), B [n, k] bf16, accumulators float32. k in slices of 32, zero filled.
//   256 threads, warps 4 (rows) x 2 (columns); a warp owns 32 rows x kNTiles * 8 columns. sm_80+.
//   Within a warp the columns are permuted so that the thread with q = lane % 4 holds consecutive ones (ColumnOrder):
//   heads, pixels and pairs end up in one thread or one quad, and stores are 16 bytes wide. The permutation costs nothing:
//   it is which rows of B the lanes name to ldmatrix.
#pragma once
#include "../common/math.cuh"
#include "../common/rows.cuh"

constexpr int BLOCK_M = 128;
constexpr int BLOCK_K = 32;
constexpr int kGemmThreads = 256;
constexpr int kGemmStages = 3;
constexpr int kWarpRows = 32;
constexpr int kChunk = 8;                        // elements of one 16-byte copy
constexpr int kRowChunks = BLOCK_K / kChunk;     // 4

// Which faults the variants for the tests have; each removes one wait, barrier or guard.
enum GemmFault { kNoFault = 0, kNoCopyWait, kNoSlotBarrier, kNoRowGuard, kNoInnerGuard, kNoColumnGuard, kNoStoreGuard };

// Element offset of 16-byte chunk `chunk` of row `row` in a [rows][32] slice. Eight rows that ldmatrix reads together
// fall into distinct 16-byte columns of a 128-byte line, for consecutive rows and for every ColumnOrder below.
PID_DEVICE int slice_offset(int row, int chunk) {
    return row * BLOCK_K + (chunk ^ (((row >> 1) ^ (row >> 3) ^ (row >> 4)) & 3)) * kChunk;
}

template <int kBlockN>
struct alignas(1024) GemmShared {
    std::uint16_t a[kGemmStages][BLOCK_M * BLOCK_K];
    std::uint16_t b[kGemmStages][kBlockN * BLOCK_K];
};

// Thread q of a quad holds columns 16q .. 16q + 15 of the warp's 64; with a ninth n-tile, 64 + 2q and one more.
struct Consecutive16 {
    // Row of the warp's B slice that is column `j` of n-tile `ni`.
    PID_DEVICE static int b_row(int ni, int j) { return ni < 8 ? (j >> 1) * 16 + ni * 2 + (j & 1) : 64 + j; }
};
// Groups of 16 columns (slots of a pixel, n-tiles 2s and 2s + 1); thread q holds 4q .. 4q + 3 of every group.
struct Groups16 {
    PID_DEVICE static int b_row(int ni, int j) { return (ni >> 1) * 16 + (j >> 1) * 4 + (ni & 1) * 2 + (j & 1); }
};

// Position of the tile that a block computes.
struct TileAt {
    int group;
    std::uint32_t row;  // first row within the group
    std::uint32_t column;
};

// Blocks go down bands of kBand row tiles, column by column, so that a wave shares its B columns and its A rows in L2.
template <int kBlockN>
PID_DEVICE TileAt tile_at(const PidGemm& gemm) {
    constexpr std::uint32_t kBand = 8;
    const std::uint32_t first_tiles = (gemm.group[0].rows.count + BLOCK_M - 1) / BLOCK_M;
    const std::uint32_t second_tiles = gemm.num_groups == 2 ? (gemm.group[1].rows.count + BLOCK_M - 1) / BLOCK_M : 0;
    const std::uint32_t row_tiles = first_tiles + second_tiles;
    const std::uint32_t column_tiles = (gemm.n + kBlockN - 1) / kBlockN;
    const std::uint32_t band = blockIdx.x / (kBand * column_tiles);
    const std::uint32_t height = row_tiles - band * kBand < kBand ? row_tiles - band * kBand : kBand;
    const std::uint32_t within = blockIdx.x - band * kBand * column_tiles;
    const std::uint32_t row_tile = band * kBand + within % height;
    const std::uint32_t column = within / height * kBlockN;
    if (row_tile < first_tiles) return {0, row_tile * BLOCK_M, column};
    return {1, (row_tile - first_tiles) * BLOCK_M, column};
}

struct ThreadAt {
    int warp_row, warp_col, quad_row, q;
};
PID_DEVICE ThreadAt thread_at() {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    return {warp / 2, warp % 2, lane / 4, lane % 4};
}

// Rows of B, clamped to n; one thread copies one 16-byte chunk of kRows / 64 rows of a slice.
template <int kRows, int kFault>
struct BLoader {
    const std::uint16_t* base;
    std::uint32_t n, k, ldb, first;

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const int chunk = static_cast<int>(threadIdx.x) % kRowChunks;
        const std::uint32_t column = k0 + static_cast<std::uint32_t>(chunk) * kChunk;
        PID_UNROLL
        for (int i = 0; i < (kRows + 63) / 64; ++i) {
            const int row = static_cast<int>(threadIdx.x) / kRowChunks + 64 * i;
            if (kRows % 64 != 0 && row >= kRows) break;
            const std::uint32_t from = first + static_cast<std::uint32_t>(row);
            const bool inside = (kFault == kNoColumnGuard || from < n) && (kFault == kNoInnerGuard || column < k);
            const std::size_t offset = inside ? static_cast<std::size_t>(from) * ldb + column : 0;
            cp_async_cg_16(slice + slice_offset(row, chunk), base + offset, inside ? 16 : 0);
        }
    }
};

// Rows of A in bf16, `k` wide; the row of the thread's two chunks is found once per tile.
template <int kFault>
struct ALoader {
    const std::uint16_t* row[2];
    bool inside[2];
    std::uint32_t k;

    // Index of tile row `i` of the thread's two.
    PID_DEVICE static std::uint32_t tile_row(int i) { return threadIdx.x / kRowChunks + 64 * static_cast<std::uint32_t>(i); }

    // kJoint: the rows lie in a joint buffer.
    template <bool kJoint>
    PID_DEVICE static ALoader make(const std::uint16_t* base, const PidRows& rows, std::uint32_t first, std::uint32_t k) {
        ALoader loader;
        loader.k = k;
        PID_UNROLL
        for (int i = 0; i < 2; ++i) {
            const std::uint32_t index = first + tile_row(i);
            loader.inside[i] = kFault == kNoRowGuard || index < rows.count;
            const Row row = row_at(rows, loader.inside[i] ? index : 0);
            const std::size_t at = kJoint ? joint_row(rows, row) : row.stream;
            loader.row[i] = base + at * k;
        }
        return loader;
    }

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const int chunk = static_cast<int>(threadIdx.x) % kRowChunks;
        const std::uint32_t column = k0 + static_cast<std::uint32_t>(chunk) * kChunk;
        PID_UNROLL
        for (int i = 0; i < 2; ++i) {
            const bool valid = inside[i] && (kFault == kNoInnerGuard || column < k);
            cp_async_cg_16(slice + slice_offset(static_cast<int>(tile_row(i)), chunk), valid ? row[i] + column : row[i],
                           valid ? 16 : 0);
        }
    }
};

// acc += A slice x B slice^T over 32 columns.
template <int kNTiles, class ColumnOrder>
PID_DEVICE void multiply_slice(const std::uint16_t* a, const std::uint16_t* b, float (&acc)[2][kNTiles][4]) {
    const ThreadAt at = thread_at();
    const int lane = static_cast<int>(threadIdx.x) % 32;
    std::uint32_t fragments[2][2][4];
    PID_UNROLL
    for (int mi = 0; mi < 2; ++mi) {
        PID_UNROLL
        for (int kk = 0; kk < 2; ++kk) {
            const int row = at.warp_row * kWarpRows + mi * 16 + lane % 16;
            ldmatrix_x4(fragments[mi][kk], a + slice_offset(row, kk * 2 + lane / 16));
        }
    }
    PID_UNROLL
    for (int ni = 0; ni < kNTiles; ++ni) {
        // Four matrices: the n-tile's eight columns at k = 0, 8, 16, 24.
        std::uint32_t both[4];
        const int row = at.warp_col * kNTiles * 8 + ColumnOrder::b_row(ni, lane % 8);
        ldmatrix_x4(both, b + slice_offset(row, lane / 8));
        const std::uint32_t low[2] = {both[0], both[1]}, high[2] = {both[2], both[3]};
        mma_m16n8k16_bf16(acc[0][ni], fragments[0][0], low);
        mma_m16n8k16_bf16(acc[1][ni], fragments[1][0], low);
        mma_m16n8k16_bf16(acc[0][ni], fragments[0][1], high);
        mma_m16n8k16_bf16(acc[1][ni], fragments[1][1], high);
    }
}

// The whole product of one tile: a ring of kGemmStages slices. Leaves no copy in flight and the slots free.
template <int kNTiles, class ColumnOrder, int kFault, class A, class B, int kBlockN>
PID_DEVICE void multiply(const A& a, const B& b, std::uint32_t k, GemmShared<kBlockN>& smem, float (&acc)[2][kNTiles][4]) {
    const int slices = static_cast<int>((k + BLOCK_K - 1) / BLOCK_K);
    PID_UNROLL
    for (int s = 0; s < kGemmStages - 1; ++s) {
        if (s < slices) {
            a.issue(smem.a[s], static_cast<std::uint32_t>(s) * BLOCK_K);
            b.issue(smem.b[s], static_cast<std::uint32_t>(s) * BLOCK_K);
        }
        cp_async_commit_group();
    }
    int slot = 0;
    for (int s = 0; s < slices; ++s) {
        // This slice has landed for this thread; the barrier makes it so for all, and says that all have left the slot
        // which is refilled below.
        if (kFault == kNoCopyWait)
            cp_async_wait_group<kGemmStages - 1>();
        else
            cp_async_wait_group<kGemmStages - 2>();
        if (kFault != kNoSlotBarrier) syncthreads();
        const int next = s + kGemmStages - 1, refill = slot == 0 ? kGemmStages - 1 : slot - 1;
        if (next < slices) {
            a.issue(smem.a[refill], static_cast<std::uint32_t>(next) * BLOCK_K);
            b.issue(smem.b[refill], static_cast<std::uint32_t>(next) * BLOCK_K);
        }
        cp_async_commit_group();
        multiply_slice<kNTiles, ColumnOrder>(smem.a[slot], smem.b[slot], acc);
        slot = slot == kGemmStages - 1 ? 0 : slot + 1;
    }
    cp_async_wait_group<0>();
    // A second product may refill the slots.
    syncthreads();
}

template <int kNTiles>
PID_DEVICE void clear(float (&acc)[2][kNTiles][4]) {
    PID_UNROLL
    for (int mi = 0; mi < 2; ++mi)
        PID_UNROLL
        for (int ni = 0; ni < kNTiles; ++ni)
            PID_UNROLL
            for (int r = 0; r < 4; ++r) acc[mi][ni][r] = 0.0f;
}

// The thread's values of row half `h` (0: quad_row, 1: quad_row + 8) of row tile mi, in column order.
template <int kNTiles>
PID_DEVICE void take_row(const float (&acc)[2][kNTiles][4], int mi, int h, float (&v)[2 * kNTiles]) {
    PID_UNROLL
    for (int ni = 0; ni < kNTiles; ++ni) {
        v[2 * ni] = acc[mi][ni][2 * h];
        v[2 * ni + 1] = acc[mi][ni][2 * h + 1];
    }
}
