// qkv: the epilogue of gemm_qkv: per-head RMS norm of q and k, rotary, split into heads.
//   q, k, v [B, heads, N, d] bf16, d = 64 or 72, a block of columns is a head. source: op QkvProject (src/graph/op.rs)
#pragma once
#include "epilogue.cuh"

// Nothing is staged (sm_90a): the folded product's shift is fetched a row ahead, which an H200 did 2 % faster.
template <int kHeadDim, bool kFolded, class = ColumnsInMemory>
struct QkvEpilogue : PlainEpilogue {
    using Op = PidQkvParams;
    static_assert(kHeadDim == 64 || kHeadDim == 72, "a block of columns is one head of 64 or 72");
    static constexpr int kValues = kHeadDim / 4;  // per thread: 16, and 2 more of a ninth n-tile
    static constexpr int kPackedWords = 8;
    // Only of a folded one.
    struct Fetched {
        float shift[kFolded ? kValues : 1];
    };
    const Op& params;

    PID_DEVICE explicit QkvEpilogue(const Op& p, ColumnsInMemory = {}) : params(p) {}

    PID_DEVICE float row_factor(int group, const Row& row, int q, const RowOperands&) const {
        if (!kFolded) return 1.0f;
        const float* sums = params.stream[group].fold.sums;
        return folded_inverse_rms(sums, row.stream, params.gemm.k, q,
                                  folded_sums(sums, row.stream, params.gemm.k, static_cast<std::uint32_t>(q)));
    }

    // The thread's columns of a head that lies at `from`: 16 q and on, of the ninth n-tile 64 + 2 q and on.
    PID_DEVICE static void load_head(float (&out)[kValues], const float* from, int q) {
        float first[16];
        load_floats(first, from + 16 * q);
        PID_UNROLL
        for (int i = 0; i < 16; ++i) out[i] = first[i];
        if (kHeadDim == 72) {
            const float2 last = *reinterpret_cast<const float2*>(from + 64 + 2 * q);
            out[kValues - 2] = last.x, out[kValues - 1] = last.y;
        }
    }

    PID_DEVICE Fetched fetch(const RowBlock& of) const {
        Fetched fetched = {};
        // Beyond the last column there is nothing to read, and nobody reads what becomes of it.
        if constexpr (kFolded)
            if (of.valid) load_head(fetched.shift, params.stream[of.group].fold.shift_product + of.column, of.q);
        return fetched;
    }

    PID_DEVICE void row(const RowBlock& of, const Fetched& fetched, float (&v)[kValues]) const {
        const HeadAt at = head_at(of.column);
        finish_head(at.part, of, fetched, v);
        if (of.valid) store(v, at, of);
    }

    PID_DEVICE void pack(const RowBlock& of, const Fetched& fetched, float (&v)[kValues],
                         std::uint32_t (&packed)[kPackedWords]) const {
        static_assert(kHeadDim == 64, "a box has 64 columns");
        finish_head(head_at(of.column).part, of, fetched, v);
        pack_bf16(packed, v);
    }

    // By head, and the samples of a stream one after the other.
    PID_DEVICE BoxPlace box(std::uint32_t segment, std::uint32_t column) const {
        const HeadAt at = head_at(column);
        return {at.part, 0, segment * params.heads + at.head};
    }

    // 0 q, 1 k, 2 v, beyond the last column more; the same for the whole warp.
    struct HeadAt {
        std::uint32_t part, head;
    };
    PID_DEVICE HeadAt head_at(std::uint32_t column) const {
        const std::uint32_t head = column / kHeadDim, part = head / params.heads;
        return {part, head - part * params.heads};
    }

    // For rows that are not there the row is one that is, with positions in the tables.
    PID_DEVICE void finish_head(std::uint32_t part, const RowBlock& of, const Fetched& fetched, float (&v)[kValues]) const {
        const PidQkvStream& stream = params.stream[of.group];
        if constexpr (kFolded) {
            PID_UNROLL
            for (int i = 0; i < kValues; ++i) v[i] = v[i] * of.factor + fetched.shift[i];
        }
        if (part > 1) return;
        normalize(v, part == 0 ? stream.q_norm : stream.k_norm, of.q);
        rotate(v, stream, of.row.token, of.q);
    }

    PID_DEVICE static void normalize(float (&v)[kValues], const float* weight, int q) {
        float sum = 0.0f, w[kValues];
        load_head(w, weight, q);
        PID_UNROLL
        for (int i = 0; i < kValues; ++i) sum += v[i] * v[i];
        const float r = rsqrt_approx(quad_sum(sum) * (1.0f / kHeadDim) + kRmsEpsilon);
        PID_UNROLL
        for (int i = 0; i < kValues; ++i) v[i] *= r * w[i];
    }

    PID_DEVICE static void turn(float& a, float& b, float cos, float sin) {
        const float x = a * cos - b * sin;
        b = a * sin + b * cos;
        a = x;
    }

    // Pairs 2k turn by the even table (column of the patch grid), pairs 2k + 1 by the odd one (row).
    PID_DEVICE static void rotate(float (&v)[kValues], const PidQkvStream& stream, std::uint32_t token, int q) {
        const bool is_image = stream.grid_cols != 0;
        const std::uint32_t x = is_image ? token % stream.grid_cols : token, y = is_image ? token / stream.grid_cols : token;
        const float* even = stream.rotary_even + static_cast<std::size_t>(x) * (kHeadDim / 2);
        const float* odd = stream.rotary_odd + static_cast<std::size_t>(y) * (kHeadDim / 2);
        float e[8], o[8];
        load_floats(e, even + 8 * q);
        load_floats(o, odd + 8 * q);
        PID_UNROLL
        for (int i = 0; i < 4; ++i) {
            turn(v[4 * i], v[4 * i + 1], e[2 * i], e[2 * i + 1]);
            turn(v[4 * i + 2], v[4 * i + 3], o[2 * i], o[2 * i + 1]);
        }
        if (kHeadDim == 72) {
            const float* last = (q % 2 == 0 ? even : odd) + 2 * (16 + q / 2);
            turn(v[kValues - 2], v[kValues - 1], last[0], last[1]);
        }
    }

    PID_DEVICE void store(const float (&v)[kValues], const HeadAt& at, const RowBlock& of) const {
        const PidRows& rows = params.gemm.group[of.group].rows;
        std::uint16_t* base = at.part == 0 ? params.q : at.part == 1 ? params.k : params.v;
        const std::size_t line = (static_cast<std::size_t>(of.row.sample) * params.heads + at.head) * rows.joint_per_sample +
                                 joint_token(rows, of.row);
        std::uint16_t* to = base + line * kHeadDim;
        std::uint32_t packed[kPackedWords];
        pack_bf16(packed, v);
        store_packed(to + 16 * of.q, packed);
        if (kHeadDim == 72)
            *reinterpret_cast<std::uint32_t*>(to + 64 + 2 * of.q) = cvt_rn_bf16x2(v[kValues - 2], v[kValues - 1]);
    }
};
