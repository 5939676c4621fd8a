// attention_d64_sm90: hopper.cuh for heads of 64.
#include "hopper.cuh"

PID_KERNEL(attention_bounded_d64_q128_k128_s2_poly0_sm90, PidAttentionSm90Params, 384, 1) {
    attention_sm90<HopperTile<64, true, 2, 1, 128, 2, 0, false>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q192_k64_s4_poly0_sm90, PidAttentionSm90Params, 512, 1) {
    attention_sm90<HopperTile<64, true, 3, 1, 64, 4, 0, false>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q256_k64_s4_poly0_sm90, PidAttentionSm90Params, 384, 1) {
    attention_sm90<HopperTile<64, true, 2, 2, 64, 4, 0, false>, kSound>(params);
}
PID_KERNEL(attention_online_d64_q192_k64_s4_poly4_sm90, PidAttentionSm90Params, 512, 1) {
    attention_sm90<HopperTile<64, false, 3, 1, 64, 4, 4, false>, kSound>(params);
}
