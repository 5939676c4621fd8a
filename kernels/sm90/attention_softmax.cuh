// attention_softmax: softmax.cuh's two forms on wgmma's accumulators: scores of 64 queries by kKeys keys, of which a warp has 16
// rows, to weights as A fragments of the next product. Base 2, no scale: both are in q.
//   Element i of a lane: column i / 4 * 8 + lane % 4 * 2 + i % 2, row lane / 4, and eight below for odd i / 2.
//   source: FlashAttention-2, arXiv 2307.08691, section 3.1
#pragma once
#include "../attention/exp2.cuh"

template <int kKeys>
using WgmmaWeights = std::uint32_t[kKeys / 16][4];

// Gives the keys from `num_keys` on a weight of exactly zero.
template <bool kBounded, int kCount>
PID_DEVICE void mask_tail(float (&scores)[kCount], std::uint32_t num_keys, std::uint32_t lane) {
    PID_UNROLL
    for (std::uint32_t i = 0; i < kCount; ++i)
        // Scores within the bounds need no clamp, and -127 gives 0 without one.
        if (i / 4 * 8 + lane % 4 * 2 + i % 2 >= num_keys) scores[i] = kBounded ? -127.0f : minus_infinity();
}

// One row tile's state: sums of the weights that this lane saw, and what they are relative to.
template <bool kBounded, int kPolyShare>
struct WgmmaSoftmax {
    static_assert(kPolyShare >= 0 && kPolyShare <= 16, "a share of 16");
    // How far the maximum may be outgrown before sums and outputs are rescaled.
    static constexpr float kSlack = 8.0f;

    float sum[2] = {};
    float maximum[2] = {minus_infinity(), minus_infinity()};

    // Follows the scores' maximum; whether it moved, and then by which factor outputs change. Each row has a key that is
    // not masked. Bounded: never.
    template <int kCount>
    PID_DEVICE bool follow(float (&factor)[2], const float (&scores)[kCount]) {
        if (kBounded) return false;
        // Of this lane's columns alone: the other lanes of the row are asked only when one of them has outgrown it.
        float tile_max[2] = {fmaxf(scores[0], scores[1]), fmaxf(scores[2], scores[3])};
        PID_UNROLL
        for (int i = 4; i < kCount; i += 4)
            PID_UNROLL
            for (int r = 0; r < 2; ++r)
                tile_max[r] = fmaxf(tile_max[r], fmaxf(scores[i + 2 * r], scores[i + 2 * r + 1]));
        const bool grew = tile_max[0] > maximum[0] + kSlack || tile_max[1] > maximum[1] + kSlack;
        if (ballot_sync(kFullMask, grew) == 0) return false;
        PID_UNROLL
        for (int r = 0; r < 2; ++r) {
            const float next = fmaxf(maximum[r], quad_max(tile_max[r]));
            // 0 at the first tile, where sums and outputs are 0 as well.
            factor[r] = ex2_approx(maximum[r] - next);
            maximum[r] = next;
            sum[r] *= factor[r];
        }
        return true;
    }

    // weights = bf16(2^(scores - maximum)).
    template <int kCount>
    PID_DEVICE void weigh(WgmmaWeights<2 * kCount>& weights, const float (&scores)[kCount]) {
        PID_UNROLL
        for (int i = 0; i < kCount; i += 2) {
            const int r = i / 2 % 2;
            const float low = weight(scores[i], r, is_polynomial<kPolyShare>(i));
            const float high = weight(scores[i + 1], r, is_polynomial<kPolyShare>(i + 1));
            sum[r] += low + high;
            weights[i / 8][i / 2 % 4] = cvt_rn_bf16x2(low, high);
        }
    }

    // 1 / sum of a whole row. All lanes.
    PID_DEVICE float normalizer(int r) const { return rcp_approx(quad_sum(sum[r])); }

private:
    PID_DEVICE float weight(float score, int r, bool polynomial) const {
        const float x = kBounded ? score : score - maximum[r];
        return polynomial ? exp2_polynomial<!kBounded>(x) : ex2_approx(x);
    }
};
