// tile: one 128-row tile of D = A B^T by cp.async, ldmatrix and mma.sync; what all products of the portable path share.
//   A [rows, k] bf16 (or what a loader makes of it), B [n, k] bf16, accumulators float32. k in slices of 32, zero filled.
//   128 threads, warps 2 (rows) x 2 (columns); a warp owns 64 rows x kNTiles * 8 columns: 4 KB of shared memory read for
//   every 64 x 64 x 16 products, half of what the tensor cores of an A100 leave time for. sm_80+.
//   Within a warp the columns are permuted so that the thread with q = lane % 4 holds consecutive ones (ColumnOrder):
//   heads, pixels and pairs end up in one thread or one quad, and stores are 16 bytes wide. The permutation costs nothing:
//   it is which rows of B the lanes name to ldmatrix.
//   source: the structure is that of CUTLASS's sm80 multistage products.
#pragma once
#include "../common/math.cuh"
#include "../common/rows.cuh"

constexpr int BLOCK_M = 128;
constexpr int BLOCK_K = 32;
constexpr int kGemmThreads = 128;
constexpr int kGemmStages = 3;
constexpr int kMTiles = 4;                       // of 16 rows, per warp
constexpr int kWarpRows = kMTiles * 16;
constexpr int kChunk = 8;                        // elements of one 16-byte copy
constexpr int kRowChunks = BLOCK_K / kChunk;     // 4
constexpr int kLoadRows = kGemmThreads / kRowChunks;
constexpr int kACopies = BLOCK_M / kLoadRows;     // 16-byte copies of a thread per slice of A

// Which faults the variants for the tests have; each removes one wait, barrier or guard.
enum GemmFault {
    kNoFault = 0, kNoCopyWait, kNoSlotBarrier, kNoRowGuard, kNoInnerGuard, kNoColumnGuard, kNoStoreGuard, kNoProductBarrier
};

// The 16-byte chunks of row `row` of a slice are stored XORed with this: eight rows that ldmatrix reads together fall into
// distinct 16-byte columns of a 128-byte line, for consecutive rows and for every ColumnOrder below. Linear over XOR:
// turn(a | b) = turn(a) ^ turn(b) where a and b share no bit, so that addresses differ by constants.
PID_DEVICE constexpr int turn(int row) { return ((row >> 1) ^ (row >> 3) ^ (row >> 4)) & 3; }

// Element offset of chunk `chunk` of row `row` in a [rows][32] slice.
PID_DEVICE constexpr int slice_offset(int row, int chunk) { return row * BLOCK_K + (chunk ^ turn(row)) * kChunk; }

template <int kBlockN>
struct alignas(1024) GemmShared {
    std::uint16_t a[kGemmStages][BLOCK_M * BLOCK_K];
    // The rows of each of the two columns of warps are swizzled by themselves.
    std::uint16_t b[kGemmStages][kBlockN * BLOCK_K];
};

// The entry of a product on this tile, whose columns are multiples of 64 (or of what with_n_multiple says).
template <int kBlockN>
constexpr KernelEntry gemm_entry(const char* op, std::uint32_t min_blocks = 2) {
    return {op, "portable", {BLOCK_M, kBlockN, BLOCK_K}, {0, 0}, {0, 0}, kGemmStages, kGemmThreads, min_blocks, 1,
            sizeof(GemmShared<kBlockN>), 0, 0, kNeedsBf16Mma, OperandFormat::bf16, kPlainRows, 64, kChunk, 0};
}

// Which column of the warp is column j of n-tile ni: lane_row(j) | tile_row(ni), no bit in common.
// Thread q of a quad holds columns 16q .. 16q + 15 of the warp's 64; with a ninth n-tile (not permuted), 64 + 2q and one more.
struct Consecutive16 {
    PID_DEVICE static constexpr int lane_row(int j) { return (j >> 1) * 16 + (j & 1); }
    PID_DEVICE static constexpr int tile_row(int ni) { return ni * 2; }
};
// Groups of 16 columns (slots of a pixel, n-tiles 2s and 2s + 1); thread q holds 4q .. 4q + 3 of every group.
struct Groups16 {
    PID_DEVICE static constexpr int lane_row(int j) { return (j >> 1) * 4 + (j & 1); }
    PID_DEVICE static constexpr int tile_row(int ni) { return (ni >> 1) * 16 + (ni & 1) * 2; }
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

// A thread copies 16-byte chunk loader_chunk() of row loader_row() and every 32nd after it.
PID_DEVICE int loader_row() { return static_cast<int>(threadIdx.x) / kRowChunks; }
PID_DEVICE int loader_chunk() { return static_cast<int>(threadIdx.x) % kRowChunks; }

// Rows of B from `first` on, zeros beyond n and k. Positions are counted in chunks, so that 32 bits reach 2^35 elements.
template <int kRows, int kFault>
struct BLoader {
    static constexpr int kCopies = (kRows + kLoadRows - 1) / kLoadRows;
    const std::uint16_t* base;
    std::uint32_t n, k, ld_chunks, first;

    PID_DEVICE static BLoader make(const std::uint16_t* base, std::uint32_t n, std::uint32_t k, std::uint32_t ldb,
                                   std::uint32_t first) {
        return {base, n, k, ldb / kChunk, first};
    }

    PID_DEVICE static int offset(int row) {
        constexpr int kWarpColumns = kRows / 2;
        return row / kWarpColumns * kWarpColumns * BLOCK_K + slice_offset(row % kWarpColumns, loader_chunk());
    }

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const std::uint32_t column = k0 + static_cast<std::uint32_t>(loader_chunk()) * kChunk;
        const bool in_k = kFault == kNoInnerGuard || column < k;
        PID_UNROLL
        for (int i = 0; i < kCopies; ++i) {
            const int row = loader_row() + kLoadRows * i;
            if (kRows % kLoadRows != 0 && row >= kRows) break;
            const std::uint32_t from = first + static_cast<std::uint32_t>(row);
            const bool valid = in_k && (kFault == kNoColumnGuard || from < n);
            const std::size_t chunk = valid ? from * ld_chunks + column / kChunk : 0;
            cp_async_cg_16(slice + offset(row), base + chunk * kChunk, valid ? 16 : 0);
        }
    }
};

// Row of the tile that the thread's copy i fills, and where in a slice of A.
PID_DEVICE std::uint32_t a_tile_row(int i) { return static_cast<std::uint32_t>(loader_row() + kLoadRows * i); }
PID_DEVICE int a_slice_offset(int i) {
    return (slice_offset(loader_row(), loader_chunk()) ^ (turn(kLoadRows * i) * kChunk)) + kLoadRows * i * BLOCK_K;
}

// Rows of A in bf16, `k` wide; where the thread's rows begin is found once per tile, in chunks.
template <int kFault>
struct ALoader {
    const std::uint16_t* base;
    std::uint32_t chunk[kACopies];
    bool inside[kACopies];
    std::uint32_t k;

    // kJoint: the rows lie in a joint buffer.
    template <bool kJoint>
    PID_DEVICE static ALoader make(const std::uint16_t* base, const PidRows& rows, std::uint32_t first, std::uint32_t k) {
        ALoader loader;
        loader.base = base;
        loader.k = k;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            const std::uint32_t index = first + a_tile_row(i);
            loader.inside[i] = kFault == kNoRowGuard || index < rows.count;
            const Row row = row_at(rows, loader.inside[i] ? index : 0);
            loader.chunk[i] = (kJoint ? joint_row(rows, row) : row.stream) * (k / kChunk);
        }
        return loader;
    }

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const std::uint32_t column = k0 + static_cast<std::uint32_t>(loader_chunk()) * kChunk;
        const bool in_k = kFault == kNoInnerGuard || column < k;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            const bool valid = in_k && inside[i];
            const std::size_t from = chunk[i] + (valid ? column / kChunk : 0);
            cp_async_cg_16(slice + a_slice_offset(i), base + from * kChunk, valid ? 16 : 0);
        }
    }
};

// acc += A slice x B slice^T over 32 columns.
template <int kNTiles, class ColumnOrder>
PID_DEVICE void multiply_slice(const std::uint16_t* a, const std::uint16_t* b, float (&acc)[kMTiles][kNTiles][4]) {
    const ThreadAt at = thread_at();
    const int lane = static_cast<int>(threadIdx.x) % 32;
    std::uint32_t fragments[kMTiles][2][4];
    const int a_offset = slice_offset(at.warp_row * kWarpRows + lane % 16, lane / 16);
    PID_UNROLL
    for (int mi = 0; mi < kMTiles; ++mi) {
        PID_UNROLL
        for (int kk = 0; kk < 2; ++kk)
            ldmatrix_x4(fragments[mi][kk], a + (a_offset ^ ((turn(16 * mi) ^ (2 * kk)) * kChunk)) + 16 * mi * BLOCK_K);
    }
    const std::uint16_t* columns = b + at.warp_col * kNTiles * 8 * BLOCK_K;
    const int b_offset = slice_offset(ColumnOrder::lane_row(lane % 8), lane / 8);
    PID_UNROLL
    for (int ni = 0; ni < kNTiles; ++ni) {
        // Four matrices: the n-tile's eight columns at k = 0, 8, 16, 24.
        std::uint32_t both[4];
        const int row = ColumnOrder::tile_row(ni);
        if (ni == 8)
            ldmatrix_x4(both, columns + slice_offset(64 + lane % 8, lane / 8));
        else
            ldmatrix_x4(both, columns + (b_offset ^ (turn(row) * kChunk)) + row * BLOCK_K);
        const std::uint32_t low[2] = {both[0], both[1]}, high[2] = {both[2], both[3]};
        PID_UNROLL
        for (int mi = 0; mi < kMTiles; ++mi) mma_m16n8k16_bf16(acc[mi][ni], fragments[mi][0], low);
        PID_UNROLL
        for (int mi = 0; mi < kMTiles; ++mi) mma_m16n8k16_bf16(acc[mi][ni], fragments[mi][1], high);
    }
}

// The whole product of one tile: a ring of kGemmStages slices. Leaves no copy in flight and the slots free.
template <int kNTiles, class ColumnOrder, int kFault, class A, class B, int kBlockN>
PID_DEVICE void multiply(const A& a, const B& b, std::uint32_t k, GemmShared<kBlockN>& smem, float (&acc)[kMTiles][kNTiles][4]) {
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
    if (kFault != kNoProductBarrier) syncthreads();
}

template <int kNTiles>
PID_DEVICE void clear(float (&acc)[kMTiles][kNTiles][4]) {
    PID_UNROLL
    for (int mi = 0; mi < kMTiles; ++mi)
        PID_UNROLL
        for (int ni = 0; ni < kNTiles; ++ni)
            PID_UNROLL
            for (int r = 0; r < 4; ++r) acc[mi][ni][r] = 0.0f;
}

// The thread's values of row half `h` (0: quad_row, 1: quad_row + 8) of row tile mi, in column order.
template <int kNTiles>
PID_DEVICE void take_row(const float (&acc)[kMTiles][kNTiles][4], int mi, int h, float (&v)[2 * kNTiles]) {
    PID_UNROLL
    for (int ni = 0; ni < kNTiles; ++ni) {
        v[2 * ni] = acc[mi][ni][2 * h];
        v[2 * ni + 1] = acc[mi][ni][2 * h + 1];
    }
}
