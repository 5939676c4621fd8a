// gemm_embed_patch: stream[n] = W patch(n) + bias, patch n of the image as [c, py, px], and what the next product reads
// gemm_embed_rows:  output = A W^T + bias, A float32
//   image [B, 3, H, W] f32 or A [rows, k] f32, rounded to bf16 on the way; W [n, ldb] bf16, bias [n] f32;
//   output [rows, n] f32; n a multiple of 64, k of 8 (patch: 768); f32 accumulators.
//   sm_80+; 128 x 128 tiles, grid ceil(rows / 128) ceil(n / 128), block 128, smem 48 KB; 2 rows n k FLOP.
//   source: ops PatchEmbed and EmbedRows (src/graph/op.rs).
#include "epilogue.cuh"

constexpr int kPatch = 16;

// Rounds eight floats into their place in a slice.
PID_DEVICE void store_chunk(std::uint16_t* to, const float* from, bool valid) {
    float v[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    if (valid) load_floats(v, from);
    store_bf16(to, v);
}

struct PatchLoader {
    const PidEmbedParams& params;
    const float* patch[kACopies];
    bool inside[kACopies];

    PID_DEVICE PatchLoader(const PidEmbedParams& p, std::uint32_t first) : params(p) {
        const PidRows& rows = p.gemm.group[0].rows;
        const std::uint32_t cols = p.width / kPatch;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            const std::uint32_t index = first + a_tile_row(i);
            inside[i] = index < rows.count;
            const Row row = row_at(rows, inside[i] ? index : 0);
            const std::size_t line = static_cast<std::size_t>(row.sample) * 3 * p.height + row.token / cols * kPatch;
            patch[i] = p.source + line * p.width + row.token % cols * kPatch;
        }
    }

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const std::uint32_t k = k0 + static_cast<std::uint32_t>(loader_chunk()) * kChunk;
        const std::uint32_t channel = k / (kPatch * kPatch), y = k / kPatch % kPatch, x = k % kPatch;
        const std::size_t offset = (static_cast<std::size_t>(channel) * params.height + y) * params.width + x;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i)
            store_chunk(slice + a_slice_offset(i), patch[i] + offset, inside[i]);
    }
};

template <int kFault>
struct FloatRowLoader {
    const float* row[kACopies];
    bool inside[kACopies];
    std::uint32_t k;

    PID_DEVICE FloatRowLoader(const PidEmbedParams& p, std::uint32_t first) : k(p.gemm.k) {
        const PidRows& rows = p.gemm.group[0].rows;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i) {
            const std::uint32_t index = first + a_tile_row(i);
            inside[i] = kFault == kNoRowGuard || index < rows.count;
            row[i] = p.source + static_cast<std::size_t>(rows.first + (inside[i] ? index : 0)) * k;
        }
    }

    PID_DEVICE void issue(std::uint16_t* slice, std::uint32_t k0) const {
        const std::uint32_t column = k0 + static_cast<std::uint32_t>(loader_chunk()) * kChunk;
        const bool in_k = kFault == kNoInnerGuard || column < k;
        PID_UNROLL
        for (int i = 0; i < kACopies; ++i)
            store_chunk(slice + a_slice_offset(i), row[i] + column, inside[i] && in_k);
    }
};

template <bool kEmit>
struct EmbedEpilogue : PlainEpilogue {
    const PidEmbedParams& params;

    PID_DEVICE explicit EmbedEpilogue(const PidEmbedParams& p) : params(p) {}

    PID_DEVICE void row(const RowBlock& of, const Fetched&, float (&v)[16]) const {
        const std::uint32_t n = params.gemm.n;
        if (of.valid) {
            float bias[16];
            load_groups(bias, params.gemm.group[of.group].bias + of.column, of.q);
            PID_UNROLL
            for (int i = 0; i < 16; ++i) v[i] += bias[i];
            store_groups(params.output + static_cast<std::size_t>(of.row.stream) * n + of.column, v, of.q);
        }
        if (!kEmit) return;
        const float* scale = params.emit.enabled ? params.emit.scale + of.column : nullptr;
        emit_groups(params.emit, scale, of.row.stream, of.valid, of.column, n, of.q, v);
    }
};

template <class Loader, bool kEmit, int kFault>
PID_DEVICE void gemm_embed(const PidEmbedParams& params) {
    PID_SHARED(GemmShared<128>, smem);
    const TileAt tile = tile_at<128>(params.gemm);
    const PidGroup& group = params.gemm.group[0];
    const Loader a(params, tile.row);
    const auto b = BLoader<128, kFault>::make(group.b, params.gemm.n, params.gemm.k, params.gemm.ldb, tile.column);
    float acc[kMTiles][8][4];
    clear(acc);
    multiply<8, Groups16, kFault>(a, b, params.gemm.k, smem, acc);
    each_row<8, kFault>(EmbedEpilogue<kEmit>(params), params.gemm, tile, acc);
}

PID_KERNEL(gemm_embed_patch, PidEmbedParams, gemm_entry<128>("gemm_embed_patch")) { gemm_embed<PatchLoader, true, kNoFault>(params); }

template <int kFault>
PID_DEVICE void gemm_embed_rows_body(const PidEmbedParams& params) {
    gemm_embed<FloatRowLoader<kFault>, false, kFault>(params);
}

PID_KERNEL(gemm_embed_rows, PidEmbedParams, gemm_entry<128>("gemm_embed_rows")) { gemm_embed_rows_body<kNoFault>(params); }

PID_FAULT(gemm_embed_rows, no_slot_barrier, gemm_embed_rows_body<kNoSlotBarrier>)
PID_FAULT(gemm_embed_rows, no_row_guard, gemm_embed_rows_body<kNoRowGuard>)
PID_FAULT(gemm_embed_rows, no_inner_guard, gemm_embed_rows_body<kNoInnerGuard>)
