// conv3x3_tokens_*_sm90: output = f(conv3x3(input) + bias) [+ output] on tokens, by TMA and wgmma; conv3x3_tokens
//   (conv/conv3x3.cu) elsewhere
//   input [B, Hs Ws, channels] bf16, channels a multiple of 8, W [n, ldb] bf16, k = tap * channels + channel, its rows in the
//   order Consecutive16 of heads of 64; bias [n] f32; output [B Hs Ws, n] bf16, n a multiple of 16; f32 accumulators.
//   A tile of 128 rows is a rectangle of 16 x 8 tokens of the grid. A slice of 64 inner columns belongs to one tap: the
//   rectangle, shifted by the tap, is one box of the input; outside of the grid the copy gives zeros, which is the zero
//   padding. Where border tokens repeat (replicate), they are in the same box, one token further in (all but those of a tile
//   with one column or row): a warp of the producer copies them over the zeros before the consumers see the slice. Channels
//   beyond the last are zeros in A.
//   sm_90a; tiles and the way to share the work as named (product.cuh); persistent: grid at most one block an SM, in whole
//   clusters; block 384, smem up to 227 KB; 18 B Hs Ws n channels FLOP.
//   source: op Conv3x3 (src/graph/op.rs); the structure is product.cuh's.
#include "epilogue.cuh"
#include "../conv/conv3x3.cuh"

constexpr std::uint32_t kTileCols = 16, kTileRows = 8;

// Rectangle of tokens of a tile.
struct GridTile {
    std::uint32_t sample;
    int x, y;

    PID_DEVICE GridTile(const PidConvParams& params, const ProductTile& tile) : sample(tile.segment) {
        const std::uint32_t across = (params.grid_cols + kTileCols - 1) / kTileCols;
        x = static_cast<int>(tile.row_tile % across * kTileCols);
        y = static_cast<int>(tile.row_tile / across * kTileRows);
    }
};

struct TapSource {
    const PidConvParams& params;
    const PidTensorMap* map;
    GridTile at;

    PID_DEVICE std::uint32_t per_tap() const { return (params.channels + 63) / 64; }
    PID_DEVICE std::uint32_t num_slices() const { return 9 * per_tap(); }
    PID_DEVICE void load_a(std::uint16_t* to, std::uint64_t* full, std::uint32_t slice) const {
        const std::uint32_t tap = slice / per_tap(), channel = (slice - tap * per_tap()) * 64;
        cp_async_bulk_tensor_4d_shared_global(to, map, full, static_cast<int>(channel), at.x + static_cast<int>(tap % 3) - 1,
                                              at.y + static_cast<int>(tap / 3) - 1, static_cast<int>(at.sample));
    }
    PID_DEVICE std::uint32_t b_column(std::uint32_t slice) const {
        const std::uint32_t tap = slice / per_tap();
        return tap * params.channels + (slice - tap * per_tap()) * 64;
    }
};

// Rows of a tile by their index in it.
struct RowsOfGrid {
    const PidConvParams& params;
    GridTile at;

    PID_DEVICE std::uint32_t x(std::uint32_t index) const { return static_cast<std::uint32_t>(at.x) + index % kTileCols; }
    PID_DEVICE std::uint32_t y(std::uint32_t index) const { return static_cast<std::uint32_t>(at.y) + index / kTileCols; }
    PID_DEVICE bool inside(std::uint32_t index) const { return x(index) < params.grid_cols && y(index) < params.grid_rows; }
    PID_DEVICE Row row(std::uint32_t index, bool is_inside) const {
        const std::uint32_t token = is_inside ? y(index) * params.grid_cols + x(index) : 0;
        return {at.sample * params.grid_rows * params.grid_cols + token, at.sample, token};
    }
};

// The one place along an axis of a tile (of `extent` tokens, from `first` on, in a grid of `size`) whose neighbour at `step`
// is not of the grid; `extent` or more where there is none.
PID_DEVICE std::uint32_t border(int first, int step, int size, std::uint32_t extent) {
    if (step < 0) return first == 0 ? 0 : extent;
    return step > 0 ? static_cast<std::uint32_t>(size - 1 - first) : extent;
}

// Repeats the border: rows of the slice whose token, shifted by the tap, lies outside of the grid get the nearest token's
// channels, from the same box where it is there: shared memory is a tenth as far as the tensor. Those are a column of the tile,
// a line of it, or both. A warp; 8 lanes a row.
template <class Shape, int kFault>
PID_DEVICE void mend_slice(const PidConvParams& params, const GridTile& at, const TapSource& source, std::uint32_t slice,
                           std::uint16_t* a) {
    const std::uint32_t tap = slice / source.per_tap(), lane = threadIdx.x % 32;
    const std::uint32_t channel = (slice - tap * source.per_tap()) * 64 + lane % 8 * 8;
    const int rows = static_cast<int>(params.grid_rows), cols = static_cast<int>(params.grid_cols);
    const int dx = static_cast<int>(tap % 3) - 1, dy = static_cast<int>(tap / 3) - 1;
    const std::uint32_t border_column = border(at.x, dx, cols, kTileCols), border_line = border(at.y, dy, rows, kTileRows);
    const std::uint32_t in_column = border_column < kTileCols ? kTileRows : 0;
    const std::uint32_t in_line = border_line < kTileRows ? kTileCols : 0;
    if (kFault == kNoMending || in_column + in_line == 0) return;
    // The 128-byte swizzle, as the copy has it.
    const auto chunk = [&](int index) {
        return reinterpret_cast<uint4*>(a + index * Shape::BLOCK_K + (static_cast<int>(lane) % 8 ^ index % 8) * 8);
    };
    PID_NO_UNROLL
    for (std::uint32_t i = lane / 8; i < in_column + in_line; i += 4) {
        const std::uint32_t column = i < in_column ? border_column : i - in_column;
        const std::uint32_t line = i < in_column ? i : border_line;
        const int x = at.x + static_cast<int>(column), y = at.y + static_cast<int>(line);
        // Tokens that are not of the grid themselves are nobody's result; the corner is done with the column.
        if (x >= cols || y >= rows || (i >= in_column && column == border_column)) continue;
        // To the nearest token of the grid.
        const int right = column == border_column ? -dx : 0, down = line == border_line ? -dy : 0;
        const int index = static_cast<int>(line * kTileCols + column);
        uint4 value = make_uint4(0, 0, 0, 0);
        if (static_cast<int>(column) + right >= 0 && static_cast<int>(line) + down >= 0) {
            value = *chunk(index + right + down * static_cast<int>(kTileCols));
        } else if (kFault == kNoChannelBound || channel < params.channels) {
            // 64-bit: tokens times channels can pass 2^31.
            const std::size_t from = (static_cast<std::size_t>(at.sample) * params.grid_rows +
                                      static_cast<std::size_t>(y + dy + down)) * params.grid_cols +
                                     static_cast<std::size_t>(x + dx + right);
            value = *reinterpret_cast<const uint4*>(params.gemm.group[0].a + from * params.channels + channel);
        }
        *chunk(index) = value;
    }
    if (kFault != kNoMendedFence) fence_proxy_async();
}

template <class Shape, int kFault>
PID_DEVICE void conv3x3_sm90(const WithMaps<PidConvParams>& params) {
    using Shared = ProductShared<Shape>;
    const PidTmaGemm& tma = params.tma;
    const PidConvParams& op = params.op;
    const std::uint32_t num_slices = 9 * ((op.channels + 63) / 64);
    const auto load = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t rank) {
        load_slices<Shape, kFault>(smem, at, TapSource{op, &tma.a[0], GridTile(op, tile)}, &tma.b[0], tile.column,
                                   Shape::BLOCK_N, rank);
    };
    const auto mend = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile) {
        if (!op.replicate) return;
        const TapSource source{op, &tma.a[0], GridTile(op, tile)};
        for (std::uint32_t slice = 0; slice < num_slices; ++slice, at.advance()) {
            // The copy is there; the slot stays until the consumers, who wait for this warp, have read it.
            if (kFault != kNoMendedWait) mbarrier_wait_parity(&smem.full[at.slot], at.parity);
            mend_slice<Shape, kFault>(op, source.at, source, slice, smem.stage[at.slot].a);
            if (kFault != kNoMendedBarrier) syncwarp();
            if (threadIdx.x % 32 == 0) mbarrier_arrive(&smem.mended[at.slot]);
        }
    };
    const auto consume = [&](Shared& smem, RingAt<Shape>& at, const ProductTile& tile, std::uint32_t first_row,
                             const auto& passed) {
        const bool is_mended = op.replicate && kFault != kNoMendedRelease;
        float acc[Shape::kRowTiles][Shape::BLOCK_N / 2];
        multiply_slices<Shape, Shape::BLOCK_N, kFault>(smem, is_mended ? smem.mended : smem.full, at, num_slices, first_row,
                                                       acc, passed);
        const RowOperands<Shape, ConvEpilogue> none = {};
        finish_rows<Shape, 64, kFault>(ConvEpilogue(op), op.gemm, RowsOfGrid{op, GridTile(op, tile)}, tile, none, acc);
    };
    run_product<Shape, kFault>(tma, op.gemm, num_slices, num_slices, load, consume, mend, nothing_to_begin<Shape>);
}

template <class Shape>
constexpr KernelEntry conv_entry() {
    KernelEntry entry = product_entry<Shape>("conv3x3_tokens", kHeadsOf64).with_n_multiple(16);
    entry.grid_tile[0] = kTileCols;
    entry.grid_tile[1] = kTileRows;
    return entry;
}

PID_KERNEL(conv3x3_tokens_128x256_sm90, WithMaps<PidConvParams>, conv_entry<ProductShape<256, false, 1, 56>>()) {
    conv3x3_sm90<ProductShape<256, false, 1, 56>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(conv3x3_tokens_128x256_pair_sm90, WithMaps<PidConvParams>,
                   conv_entry<ProductShape<256, false, 2, 56>>()) {
    conv3x3_sm90<ProductShape<256, false, 2, 56>, kSoundProduct>(params);
}
PID_KERNEL(conv3x3_tokens_128x128_pingpong_sm90, WithMaps<PidConvParams>,
           conv_entry<ProductShape<128, true, 1, 56>>()) {
    conv3x3_sm90<ProductShape<128, true, 1, 56>, kSoundProduct>(params);
}
PID_CLUSTER_KERNEL(conv3x3_tokens_128x128_pingpong_pair_sm90, WithMaps<PidConvParams>,
                   conv_entry<ProductShape<128, true, 2, 56>>()) {
    conv3x3_sm90<ProductShape<128, true, 2, 56>, kSoundProduct>(params);
}

PID_FAULT(conv3x3_tokens_128x256_sm90, no_slot_wait, conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoSlotWait>)
PID_FAULT(conv3x3_tokens_128x256_sm90, no_row_bound, conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoRowBound>)
PID_FAULT(conv3x3_tokens_128x256_sm90, no_mending, conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoMending>)
PID_FAULT(conv3x3_tokens_128x256_sm90, no_mended_fence, conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoMendedFence>)
PID_FAULT(conv3x3_tokens_128x256_sm90, no_mended_wait, conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoMendedWait>)
PID_FAULT(conv3x3_tokens_128x256_sm90, no_mended_release,
          conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoMendedRelease>)
PID_FAULT(conv3x3_tokens_128x256_sm90, no_channel_bound, conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoChannelBound>)
PID_FAULT(conv3x3_tokens_128x256_sm90, no_mended_barrier,
          conv3x3_sm90<ProductShape<256, false, 1, 56>, kNoMendedBarrier>)
