// qkv: the epilogue of gemm_qkv: per-head RMS norm of q and k, rotary, split into heads.
#pragma once
#include "epilogue.cuh"

template <int kHeadDim, bool kFolded, class Columns = ColumnsInMemory>
struct QkvEpilogue : PlainEpilogue {
    using Op = PidQkvParams;
    static_assert(kHeadDim == 64 || kHeadDim == 72, "a block of columns is one head of 64 or 72");
    static constexpr int kValues = kHeadDim / 4;  // per thread: 16, and 2 more of a ninth n-tile
    static constexpr int kPackedWords = 8;
    // The row's angles, for the two or three pairs at each place of the thread.
    struct Fetched {
        float even[8], odd[8], last[2];
    };
    template <bool kPingPong>
    PID_DEVICE static constexpr int fetches_ahead() { return kPingPong ? 0 : 1; }
    using RowOperands = FoldedSums;
    // Only of a folded one.
    enum Array { kShift, kArrays = kFolded ? 1 : 0 };
    const Op& params;
    Columns columns;

    PID_DEVICE explicit QkvEpilogue(const Op& p, Columns of = {}) : params(p), columns(of) {}

    PID_DEVICE static const float* array(const Op& op, int group, int) { return op.stream[group].fold.shift_product; }

    PID_DEVICE RowOperands row_operands(int group, const Row& row, int q) const {
        if (!kFolded) return {};
        return folded_sums(params.stream[group].fold.sums, row.stream, params.gemm.k, static_cast<std::uint32_t>(q));
    }

    PID_DEVICE float row_factor(int group, const Row& row, int q, const RowOperands& sums) const {
        if (!kFolded) return 1.0f;
        return folded_inverse_rms(params.stream[group].fold.sums, row.stream, params.gemm.k, q, sums);
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

    // Pairs 2k turn by the even table (column of the patch grid), pairs 2k + 1 by the odd one (row). For rows that are not
    // there `row` is one that is, with positions in the tables.
    PID_DEVICE Fetched fetch(int group, const Row& row, bool, std::uint32_t column, int q) const {
        Fetched fetched;
        if (head_at(column).part <= 1) {
            const PidQkvStream& stream = params.stream[group];
            const bool is_image = stream.grid_cols != 0;
            const std::uint32_t x = is_image ? row.token % stream.grid_cols : row.token;
            const std::uint32_t y = is_image ? row.token / stream.grid_cols : row.token;
            const float* even = stream.rotary_even + static_cast<std::size_t>(x) * (kHeadDim / 2);
            const float* odd = stream.rotary_odd + static_cast<std::size_t>(y) * (kHeadDim / 2);
            load_floats(fetched.even, even + 8 * q);
            load_floats(fetched.odd, odd + 8 * q);
            if (kHeadDim == 72) {
                const float* last = (q % 2 == 0 ? even : odd) + 2 * (16 + q / 2);
                fetched.last[0] = last[0], fetched.last[1] = last[1];
            }
        }
        return fetched;
    }

    PID_DEVICE void row(int group, const Row& row, bool valid, float r, std::uint32_t column, int q,
                        const Fetched& fetched, float (&v)[kValues]) const {
        const HeadAt at = head_at(column);
        finish_head(at.part, group, valid, r, column, q, fetched, v);
        if (valid) store(v, at, group, row, q);
    }

    PID_DEVICE void pack(int group, const Row&, bool valid, float r, std::uint32_t column, int q,
                         const Fetched& fetched, float (&v)[kValues], std::uint32_t (&packed)[kPackedWords]) const {
        static_assert(kHeadDim == 64, "a box has 64 columns");
        finish_head(head_at(column).part, group, valid, r, column, q, fetched, v);
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

    PID_DEVICE void finish_head(std::uint32_t part, int group, bool valid, float r, std::uint32_t column, int q,
                                const Fetched& fetched, float (&v)[kValues]) const {
        const PidQkvStream& stream = params.stream[group];
        if constexpr (kFolded) {
            float shift[kValues] = {};
            // Beyond the last column there is nothing to read, and nobody reads what becomes of it.
            if (valid) load_head(shift, columns.at(kShift, stream.fold.shift_product, column), q);
            PID_UNROLL
            for (int i = 0; i < kValues; ++i) v[i] = v[i] * r + shift[i];
        }
        if (part > 1) return;
        normalize(v, part == 0 ? stream.q_norm : stream.k_norm, q);
        rotate(v, fetched);
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

    PID_DEVICE static void rotate(float (&v)[kValues], const Fetched& by) {
        PID_UNROLL
        for (int i = 0; i < 4; ++i) {
            turn(v[4 * i], v[4 * i + 1], by.even[2 * i], by.even[2 * i + 1]);
            turn(v[4 * i + 2], v[4 * i + 3], by.odd[2 * i], by.odd[2 * i + 1]);
        }
        if (kHeadDim == 72) turn(v[kValues - 2], v[kValues - 1], by.last[0], by.last[1]);
    }

    PID_DEVICE void store(const float (&v)[kValues], const HeadAt& at, int group, const Row& row, int q) const {
        const PidRows& rows = params.gemm.group[group].rows;
        std::uint16_t* base = at.part == 0 ? params.q : at.part == 1 ? params.k : params.v;
        const std::size_t line = (static_cast<std::size_t>(row.sample) * params.heads + at.head) * rows.joint_per_sample +
                                 joint_token(rows, row);
        std::uint16_t* to = base + line * kHeadDim;
        std::uint32_t packed[kPackedWords];
        pack_bf16(packed, v);
        store_packed(to + 16 * q, packed);
        if (kHeadDim == 72)
            *reinterpret_cast<std::uint32_t*>(to + 64 + 2 * q) = cvt_rn_bf16x2(v[kValues - 2], v[kValues - 1]);
    }
};
