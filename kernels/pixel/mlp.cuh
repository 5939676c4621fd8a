// mlp: fc2(gelu(fc1(z))), 16 -> 64 -> 16, on tensor cores in registers, for 16 pixels of a warp at a time.
//   z and the result are held as a quad holds pixels (quad.cuh): rows are pixels quad_row and quad_row + 8. Inner indices
//   may be permuted at will, so z is an A fragment as it is: positions 2q, 2q + 1, 2q + 8, 2q + 9 stand for channels
//   4q .. 4q + 3; an accumulator of two n-tiles is the next A fragment.
#pragma once
#include "quad.cuh"

constexpr int kMlpHidden = 64;

// kStride: elements from one row of fc2 to the next.
template <int kStride = kMlpHidden>
struct PixelMlp {
    const std::uint16_t* fc1;  // bf16 [64, 16]
    const float* fc1_bias;
    const std::uint16_t* fc2;  // bf16 [16, 64]
    const float* fc2_bias;

    PID_DEVICE static std::uint32_t pair(const std::uint16_t* from) { return *reinterpret_cast<const std::uint32_t*>(from); }

    // Hidden units 8 tile .. 8 tile + 7 after GELU, for both rows.
    PID_DEVICE void hidden(const std::uint32_t (&z)[4], int tile, int lane, float (&h)[4]) const {
        const int q = lane % 4;
        const std::uint16_t* weights = fc1 + (tile * 8 + lane / 4) * kPixelChannels + 4 * q;
        const std::uint32_t b[2] = {pair(weights), pair(weights + 2)};
        const float low = fc1_bias[tile * 8 + 2 * q], high = fc1_bias[tile * 8 + 2 * q + 1];
        h[0] = low, h[1] = high, h[2] = low, h[3] = high;
        mma_m16n8k16_bf16(h, z, b);
        PID_UNROLL
        for (int i = 0; i < 4; ++i) h[i] = gelu(h[i]);
    }

    // out[row][i]: channel 4q + i.
    PID_DEVICE void apply(const float (&first)[4], const float (&second)[4], float (&out)[2][4]) const {
        const int lane = static_cast<int>(threadIdx.x) % 32, q = lane % 4, n = lane / 4;
        const std::uint32_t z[4] = {cvt_rn_bf16x2(first[0], first[1]), cvt_rn_bf16x2(second[0], second[1]),
                                    cvt_rn_bf16x2(first[2], first[3]), cvt_rn_bf16x2(second[2], second[3])};
        float acc[2][4];
        PID_UNROLL
        for (int t = 0; t < 2; ++t) {
            acc[t][0] = acc[t][2] = fc2_bias[4 * q + 2 * t];
            acc[t][1] = acc[t][3] = fc2_bias[4 * q + 2 * t + 1];
        }
        // Not unrolled: all steps' weights at once would need more registers than there are.
        PID_NO_UNROLL
        for (int kk = 0; kk < kMlpHidden / 16; ++kk) {
            float h[2][4];
            hidden(z, 2 * kk, lane, h[0]);
            hidden(z, 2 * kk + 1, lane, h[1]);
            const std::uint32_t a[4] = {cvt_rn_bf16x2(h[0][0], h[0][1]), cvt_rn_bf16x2(h[0][2], h[0][3]),
                                        cvt_rn_bf16x2(h[1][0], h[1][1]), cvt_rn_bf16x2(h[1][2], h[1][3])};
            PID_UNROLL
            for (int t = 0; t < 2; ++t) {
                // Output column j of tile t is channel 4 (j / 2) + 2 t + j % 2.
                const std::uint16_t* weights = fc2 + (4 * (n / 2) + 2 * t + n % 2) * kStride + kk * 16 + 2 * q;
                const std::uint32_t b[2] = {pair(weights), pair(weights + 8)};
                mma_m16n8k16_bf16(acc[t], a, b);
            }
        }
        PID_UNROLL
        for (int t = 0; t < 2; ++t) {
            out[0][2 * t] = acc[t][0], out[0][2 * t + 1] = acc[t][1];
            out[1][2 * t] = acc[t][2], out[1][2 * t + 1] = acc[t][3];
        }
    }
};
