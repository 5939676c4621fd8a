// softmax: scores of one warp, in mma accumulators, to weights in mma A fragments, and the sums of each row's weights.
//   Base 2, no scale: both are in q. Weights are bf16, their sums float32 from before that rounding.
//   source: FlashAttention-2, arXiv 2307.08691, section 3.1
#pragma once
#include <cmath>

#include "../common/math.cuh"

// A warp's share of a tile: two m16 tiles of queries by eight n8 tiles of keys. Lane l has, of tile [i][j], elements
// (row l / 4, columns 2 (l % 4) and one more) and the same eight rows below.
constexpr int kRowTiles = 2;
constexpr int kKeyTiles = 8;
using Scores = float[kRowTiles][kKeyTiles][4];
// The same as bf16 pairs: two n8 tiles are one A fragment of 16 keys.
using Weights = std::uint32_t[kRowTiles][kKeyTiles / 2][4];

// Gives the keys from `num_keys` on a weight of exactly zero.
PID_DEVICE void mask_tail(Scores& scores, std::uint32_t num_keys, std::uint32_t lane) {
    PID_UNROLL
    for (int j = 0; j < kKeyTiles; ++j)
        PID_UNROLL
        for (int e = 0; e < 4; ++e)
            if (8 * j + lane % 4 * 2 + e % 2 >= num_keys) {
                PID_UNROLL
                for (int i = 0; i < kRowTiles; ++i) scores[i][j][e] = minus_infinity();
            }
}

// What both forms share: sums of the weights that this lane saw, by row of its two m16 tiles.
struct WeightSums {
    float sum[kRowTiles][2] = {};

    // weights = bf16(2^(scores - offset)).
    PID_DEVICE void weigh(Weights& weights, const Scores& scores, const float (&offset)[kRowTiles][2]) {
        PID_UNROLL
        for (int j = 0; j < kKeyTiles; ++j)
            PID_UNROLL
            for (int i = 0; i < kRowTiles; ++i)
                PID_UNROLL
                for (int r = 0; r < 2; ++r) {
                    const float low = ex2_approx(scores[i][j][2 * r] - offset[i][r]);
                    const float high = ex2_approx(scores[i][j][2 * r + 1] - offset[i][r]);
                    sum[i][r] += low + high;
                    weights[i][j / 2][j % 2 * 2 + r] = cvt_rn_bf16x2(low, high);
                }
    }

    // 1 / sum of a whole row. All lanes.
    PID_DEVICE float normalizer(int i, int r) const { return rcp_approx(quad_sum(sum[i][r])); }
};

// Any finite scores. The maximum that weights are relative to follows the true one at a distance of up to kSlack, so
// that most tiles leave sums and outputs alone; weights stay below 2^kSlack, and the quotient at the end is the same.
struct OnlineSoftmax : WeightSums {
    static constexpr float kSlack = 8.0f;
    float maximum[kRowTiles][2];

    PID_DEVICE OnlineSoftmax() {
        PID_UNROLL
        for (int i = 0; i < kRowTiles; ++i)
            PID_UNROLL
            for (int r = 0; r < 2; ++r) maximum[i][r] = minus_infinity();
    }

    // Takes in one tile; `acc` is what earlier tiles added up. Each row has a key that is not masked.
    template <int kTiles>
    PID_DEVICE void weigh_tile(Weights& weights, const Scores& scores, float (&acc)[kRowTiles][kTiles][4]) {
        // Of this lane's columns alone: the other lanes of the row are asked only when one of them has outgrown it.
        float tile_max[kRowTiles][2];
        bool grew = false;
        PID_UNROLL
        for (int i = 0; i < kRowTiles; ++i)
            PID_UNROLL
            for (int r = 0; r < 2; ++r) {
                float x = fmaxf(scores[i][0][2 * r], scores[i][0][2 * r + 1]);
                PID_UNROLL
                for (int j = 1; j < kKeyTiles; ++j) x = fmaxf(x, fmaxf(scores[i][j][2 * r], scores[i][j][2 * r + 1]));
                tile_max[i][r] = x;
                grew = grew || x > maximum[i][r] + kSlack;
            }
        if (ballot_sync(kFullMask, grew) != 0) rescale(tile_max, acc);
        weigh(weights, scores, maximum);
    }

private:
    template <int kTiles>
    PID_DEVICE void rescale(const float (&tile_max)[kRowTiles][2], float (&acc)[kRowTiles][kTiles][4]) {
        PID_UNROLL
        for (int i = 0; i < kRowTiles; ++i)
            PID_UNROLL
            for (int r = 0; r < 2; ++r) {
                const float next = fmaxf(maximum[i][r], quad_max(tile_max[i][r]));
                // 0 at the first tile, where sums and outputs are 0 as well.
                const float factor = ex2_approx(maximum[i][r] - next);
                maximum[i][r] = next;
                sum[i][r] *= factor;
                PID_UNROLL
                for (int n = 0; n < kTiles; ++n) acc[i][n][2 * r] *= factor, acc[i][n][2 * r + 1] *= factor;
            }
    }
};

// Scores within [-100, 100]: weights of up to 2^100 need no maximum (float32 holds sums of 2^27 of them; bf16 has the
// same exponents).
struct BoundedSoftmax : WeightSums {
    template <int kTiles>
    PID_DEVICE void weigh_tile(Weights& weights, const Scores& scores, float (&)[kRowTiles][kTiles][4]) {
        weigh(weights, scores, {{0.0f, 0.0f}, {0.0f, 0.0f}});
    }
};
