// angle: sine and cosine of an angle counted in 2^-32 of a full turn. Whole turns fall away as integers overflow, so any
// angle is reduced exactly; sinf and cosf reduce large ones through an array in local memory.
//   error below 1.3e-7 at every 37th of the 2^32 angles (sinf of the angle in float32: 1.4e-7); no table, no branch
//   source: polynomials of Cephes, single/sinf.c, netlib.org/cephes
#pragma once
#include "../intrinsics/intrinsics.cuh"

constexpr std::uint32_t kQuarterTurn = 1u << 30;

struct SinCos {
    float sin, cos;
};

PID_DEVICE SinCos sin_cos_of_turn(std::uint32_t turn) {
    // The nearest quarter, and what is left: an eighth of a turn at most, to either side.
    const std::uint32_t quarter = (turn + kQuarterTurn / 2) / kQuarterTurn;
    const std::int32_t rest = static_cast<std::int32_t>(turn - quarter * kQuarterTurn);
    const float x = static_cast<float>(rest) * 1.46291807926715968e-9f;  // 2 pi / 2^32
    const float z = x * x;
    const float sine = x + x * z * (-1.6666654611e-1f + z * (8.3321608736e-3f + z * -1.9515295891e-4f));
    const float high = 4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f);
    const float cosine = 1.0f - 0.5f * z + z * z * high;
    const bool odd = quarter % 2 != 0;
    const float s = odd ? cosine : sine, c = odd ? sine : cosine;
    return {quarter % 4 >= 2 ? -s : s, (quarter + 1) % 4 >= 2 ? -c : c};
}
