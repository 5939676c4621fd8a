// conv3x3_tokens, conv3x3_latent: output = f(conv3x3(input) + bias) [+ output], f = silu or identity, stride 1
//   input: tokens [B, Hs Ws, channels] bf16, channels a multiple of 32; or the latent [B, channels u^2, h, w] f32,
//   unpatchified by u and nearest-upsampled to Hs x Ws while it is loaded, any channels. W [n, ldb] bf16,
//   k = tap * channels + channel; bias [n] f32; output [B Hs Ws, n] bf16, n a multiple of 16; f32 accumulators.
//   Implicit GEMM: a slice of 32 inner columns is one tap's (tokens), its rows shifted patches, zeros or clamped.
//   sm_80+; 128 x 128 tiles, grid ceil(B Hs Ws / 128) ceil(n / 128), block 128, smem 48 KB; 18 B Hs Ws n channels FLOP.
//   source: op Conv3x3 (src/graph/op.rs).
#include "conv3x3.cuh"

// A token of the grid, and its neighbours.
struct GridAt {
    std::uint32_t sample;
    int y, x;
};

PID_DEVICE GridAt grid_at(const PidConvParams& params, std::uint32_t row) {
    const std::uint32_t tokens = params.grid_rows * params.grid_cols;
    const std::uint32_t sample = row / tokens, token = row - sample * tokens;
    return {sample, static_cast<int>(token / params.grid_cols), static_cast<int>(token % params.grid_cols)};
}

// Moves to the tap's neighbour; false when it is outside of a grid padded with zeros.
template <int kFault>
PID_DEVICE bool step_to(const PidConvParams& params, int tap, GridAt& at) {
    const int rows = static_cast<int>(params.grid_rows), cols = static_cast<int>(params.grid_cols);
    at.y += tap / 3 - 1;
    at.x += tap % 3 - 1;
    const bool inside = at.y >= 0 && at.y < rows && at.x >= 0 && at.x < cols;
    at.y = at.y < 0 ? 0 : at.y >= rows ? rows - 1 : at.y;
    at.x = at.x < 0 ? 0 : at.x >= cols ? cols - 1 : at.x;
    return inside || params.replicate || kFault == kNoInnerGuard;
}

template <int kFault>
struct TokensLoader {
    const PidConvParams& params;
    GridAt at[kACopies];
    bool inside[kACopies];

    PID_DEVICE TokensLoader(const PidConvParams& p, std::uint32_t first) : params(p) {
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            const std::uint32_t index = first + a_tile_row(i);
            inside[i] = kFault == kNoRowGuard || index < p.gemm.group[0].rows.count;
            at[i] = grid_at(p, inside[i] ? index : 0);
        }
    }

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const std::uint32_t tap = k0 / params.channels;
        const std::uint32_t channel = k0 - tap * params.channels + static_cast<std::uint32_t>(loader_chunk()) * kChunk;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            GridAt from = at[i];
            const bool valid = step_to<kFault>(params, static_cast<int>(tap), from) && inside[i];
            const std::size_t token =
                (static_cast<std::size_t>(from.sample) * params.grid_rows + static_cast<std::size_t>(from.y)) * params.grid_cols +
                static_cast<std::size_t>(from.x);
            cp_async_cg_16(slice + a_slice_offset(i),
                           params.gemm.group[0].a + token * params.channels + channel, valid ? 16 : 0);
        }
    }
};

template <int kFault>
struct LatentLoader {
    const PidConvParams& params;
    GridAt at[kACopies];
    bool inside[kACopies];

    PID_DEVICE LatentLoader(const PidConvParams& p, std::uint32_t first) : params(p) {
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            const std::uint32_t index = first + a_tile_row(i);
            inside[i] = kFault == kNoRowGuard || index < p.gemm.group[0].rows.count;
            at[i] = grid_at(p, inside[i] ? index : 0);
        }
    }

    // Channel `channel` of the unpatchified, upsampled latent: (c, u y + fy, u x + fx) is channel c u^2 + fy u + fx.
    PID_DEVICE float value(const GridAt& from, std::uint32_t channel) const {
        const std::uint32_t u = params.unpatchify;
        const std::uint32_t y = static_cast<std::uint32_t>(from.y) * (params.latent_rows * u) / params.grid_rows;
        const std::uint32_t x = static_cast<std::uint32_t>(from.x) * (params.latent_cols * u) / params.grid_cols;
        const std::size_t plane = (static_cast<std::size_t>(from.sample) * params.channels + channel) * u * u + y % u * u + x % u;
        return params.latent[(plane * params.latent_rows + y / u) * params.latent_cols + x / u];
    }

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const std::uint32_t first = k0 + static_cast<std::uint32_t>(loader_chunk()) * kChunk;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            float v[8];
            PID_UNROLL
            for (std::uint32_t j = 0; j < 8; ++j) {
                const std::uint32_t k = first + j, tap = k / params.channels;
                GridAt from = at[i];
                const bool valid = k < 9 * params.channels && inside[i] && step_to<kFault>(params, static_cast<int>(tap), from);
                v[j] = valid ? value(from, k - tap * params.channels) : 0.0f;
            }
            store_bf16(slice + a_slice_offset(i), v);
        }
    }
};

template <class Loader, int kFault>
PID_DEVICE void conv3x3(const PidConvParams& params) {
    PID_SHARED(GemmShared<128>, smem);
    const TileAt tile = tile_at<128>(params.gemm);
    const Loader a(params, tile.row);
    const auto b = BLoader<128, kFault>::make(params.gemm.group[0].b, params.gemm.n, params.gemm.k, params.gemm.ldb, tile.column);
    float acc[kMTiles][8][4];
    clear(acc);
    multiply<8, Consecutive16, kFault>(a, b, params.gemm.k, smem, acc);
    each_row<8, kFault>(ConvEpilogue(params), params.gemm, tile, acc);
}

PID_KERNEL(conv3x3_tokens, PidConvParams, gemm_entry<128>("conv3x3_tokens").with_n_multiple(16)) { conv3x3<TokensLoader<kNoFault>, kNoFault>(params); }
PID_KERNEL(conv3x3_latent, PidConvParams, gemm_entry<128>("conv3x3_latent").with_n_multiple(16)) { conv3x3<LatentLoader<kNoFault>, kNoFault>(params); }

PID_FAULT(conv3x3_tokens, no_slot_barrier, conv3x3<TokensLoader<kNoSlotBarrier>, kNoSlotBarrier>)
PID_FAULT(conv3x3_tokens, no_row_guard, conv3x3<TokensLoader<kNoRowGuard>, kNoFault>)
PID_FAULT(conv3x3_tokens, no_border_guard, conv3x3<TokensLoader<kNoInnerGuard>, kNoFault>)
PID_FAULT(conv3x3_latent, no_slot_barrier, conv3x3<LatentLoader<kNoSlotBarrier>, kNoSlotBarrier>)
PID_FAULT(conv3x3_latent, no_row_guard, conv3x3<LatentLoader<kNoRowGuard>, kNoFault>)
PID_FAULT(conv3x3_latent, no_border_guard, conv3x3<LatentLoader<kNoInnerGuard>, kNoFault>)
