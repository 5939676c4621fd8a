// mma: the warp-wide matrix products of mma.sync, computed once all lanes have brought their fragments.
#include <cmath>
#include <cstring>

#include "block.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PID_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define PID_CLONES
#endif

namespace pid::emu {

namespace {

struct Fragments {
    float* d;
    const std::uint32_t* a;
    const std::uint32_t* b;
};

// One row of d.
typedef float Row8 __attribute__((vector_size(32)));

// d [16][8] += a [16][kK] b [kK][8], in order of k; four rows at a time stay in registers.
template <int kK>
inline __attribute__((always_inline)) void product(Row8 (&d)[16], const float (&a)[16][kK], const Row8 (&b)[kK]) {
    for (int i = 0; i < 16; i += 4) {
        Row8 d0 = d[i], d1 = d[i + 1], d2 = d[i + 2], d3 = d[i + 3];
        for (int k = 0; k < kK; ++k) {
            d0 += a[i][k] * b[k];
            d1 += a[i + 1][k] * b[k];
            d2 += a[i + 2][k] * b[k];
            d3 += a[i + 3][k] * b[k];
        }
        d[i] = d0, d[i + 1] = d1, d[i + 2] = d2, d[i + 3] = d3;
    }
}

PID_CLONES void product_16(Row8 (&d)[16], const float (&a)[16][16], const Row8 (&b)[16]) { product<16>(d, a, b); }
PID_CLONES void product_32(Row8 (&d)[16], const float (&a)[16][32], const Row8 (&b)[32]) { product<32>(d, a, b); }

// Lane l of the accumulator: rows l / 4 and l / 4 + 8, columns 2 (l % 4) and one more, moved as pairs.
void gather_d(void* const* arguments, Row8 (&d)[16]) {
    auto* rows = reinterpret_cast<char*>(d);
    for (unsigned l = 0; l < kWarpSize; ++l) {
        const float* from = static_cast<const Fragments*>(arguments[l])->d;
        for (unsigned r = 0; r < 2; ++r) std::memcpy(rows + (l / 4 + r * 8) * sizeof(Row8) + l % 4 * 8, from + 2 * r, 8);
    }
}
void scatter_d(void* const* arguments, const Row8 (&d)[16]) {
    const auto* rows = reinterpret_cast<const char*>(d);
    for (unsigned l = 0; l < kWarpSize; ++l) {
        float* to = static_cast<const Fragments*>(arguments[l])->d;
        for (unsigned r = 0; r < 2; ++r) std::memcpy(to + 2 * r, rows + (l / 4 + r * 8) * sizeof(Row8) + l % 4 * 8, 8);
    }
}

template <float (*kWiden)(std::uint16_t)>
void compute_16(void* const* arguments, unsigned) {
    float a[16][16];
    Row8 b[16], d[16];
    for (unsigned l = 0; l < kWarpSize; ++l) {
        const auto* f = static_cast<const Fragments*>(arguments[l]);
        for (unsigned r = 0; r < 4; ++r)
            for (unsigned h = 0; h < 2; ++h)
                a[l / 4 + r % 2 * 8][l % 4 * 2 + r / 2 * 8 + h] = kWiden(static_cast<std::uint16_t>(f->a[r] >> 16 * h));
        for (unsigned r = 0; r < 2; ++r)
            for (unsigned h = 0; h < 2; ++h)
                b[l % 4 * 2 + r * 8 + h][l / 4] = kWiden(static_cast<std::uint16_t>(f->b[r] >> 16 * h));
    }
    gather_d(arguments, d);
    product_16(d, a, b);
    scatter_d(arguments, d);
}

void compute_32(void* const* arguments, unsigned) {
    float a[16][32];
    Row8 b[32], d[16];
    for (unsigned l = 0; l < kWarpSize; ++l) {
        const auto* f = static_cast<const Fragments*>(arguments[l]);
        for (unsigned r = 0; r < 4; ++r)
            for (unsigned h = 0; h < 4; ++h)
                a[l / 4 + r % 2 * 8][l % 4 * 4 + r / 2 * 16 + h] = e4m3_to_float(static_cast<std::uint8_t>(f->a[r] >> 8 * h));
        for (unsigned r = 0; r < 2; ++r)
            for (unsigned h = 0; h < 4; ++h)
                b[l % 4 * 4 + r * 16 + h][l / 4] = e4m3_to_float(static_cast<std::uint8_t>(f->b[r] >> 8 * h));
    }
    gather_d(arguments, d);
    product_32(d, a, b);
    scatter_d(arguments, d);
}

}  // namespace


float half_to_float(std::uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float sign = bits >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
    return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

float e4m3_to_float(std::uint8_t bits) {
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const float sign = bits >> 7 ? -1.0f : 1.0f;
    if (exponent == 15 && mantissa == 7) return NAN;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
    return sign * std::ldexp(static_cast<float>(mantissa + 8), exponent - 10);
}

void mma_m16n8k16(float* d, const std::uint32_t* a, const std::uint32_t* b, bool is_half, Site site) {
    Fragments fragments{d, a, b};
    Block& block = *Block::current();
    if (is_half)
        block.collective(kFullMask, "mma.m16n8k16.f16", site, &fragments, compute_16<half_to_float>);
    else
        block.collective(kFullMask, "mma.m16n8k16.bf16", site, &fragments, compute_16<bf16_bits_to_float>);
}

void mma_m16n8k32_e4m3(float* d, const std::uint32_t* a, const std::uint32_t* b, Site site) {
    Fragments fragments{d, a, b};
    Block::current()->collective(kFullMask, "mma.m16n8k32.e4m3", site, &fragments, compute_32);
}

}  // namespace pid::emu
