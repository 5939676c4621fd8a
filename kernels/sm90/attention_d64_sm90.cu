// attention_*_d64_*_sm90: attention of heads of 64 by TMA and wgmma: equation, operands, limits and structure in attention.cuh
//   Names: form (online: any finite scores; bounded: |score| <= 100), queries of a block (q), keys of a tile (k), slots (s), of 16
//   exponentials those that are polynomials (poly), pingpong: consumers issue their products by turns.
//   sm_90a; grid (ceil((N - query_start) / queries), B * heads); block 384 or 512, smem as the entry says
//   src/kernels/family/sm90 has the default of each form, the others wait for a measurement (attention/TUNING.md).
//   source: op Attention (src/graph/op.rs); FlashAttention-3, arXiv 2407.08608
#include "attention.cuh"

PID_KERNEL(attention_bounded_d64_q256_k80_s4_poly2_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, true, 2, 2, 80, 4, 2, false>>()) {
    attention_sm90<AttentionTile<64, true, 2, 2, 80, 4, 2, false>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q256_k80_s4_poly0_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, true, 2, 2, 80, 4, 0, false>>()) {
    attention_sm90<AttentionTile<64, true, 2, 2, 80, 4, 0, false>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q256_k80_s4_poly4_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, true, 2, 2, 80, 4, 4, false>>()) {
    attention_sm90<AttentionTile<64, true, 2, 2, 80, 4, 4, false>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q256_k64_s4_poly2_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, true, 2, 2, 64, 4, 2, false>>()) {
    attention_sm90<AttentionTile<64, true, 2, 2, 64, 4, 2, false>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q256_k64_s4_poly2_pingpong_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, true, 2, 2, 64, 4, 2, true>>()) {
    attention_sm90<AttentionTile<64, true, 2, 2, 64, 4, 2, true>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q192_k64_s4_poly2_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, true, 3, 1, 64, 4, 2, false>>()) {
    attention_sm90<AttentionTile<64, true, 3, 1, 64, 4, 2, false>, kSound>(params);
}
PID_KERNEL(attention_bounded_d64_q128_k96_s4_poly2_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, true, 2, 1, 96, 4, 2, false>>()) {
    attention_sm90<AttentionTile<64, true, 2, 1, 96, 4, 2, false>, kSound>(params);
}
PID_KERNEL(attention_online_d64_q192_k64_s4_poly1_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, false, 3, 1, 64, 4, 1, false>>()) {
    attention_sm90<AttentionTile<64, false, 3, 1, 64, 4, 1, false>, kSound>(params);
}
PID_KERNEL(attention_online_d64_q192_k64_s4_poly0_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, false, 3, 1, 64, 4, 0, false>>()) {
    attention_sm90<AttentionTile<64, false, 3, 1, 64, 4, 0, false>, kSound>(params);
}
PID_KERNEL(attention_online_d64_q192_k64_s4_poly2_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, false, 3, 1, 64, 4, 2, false>>()) {
    attention_sm90<AttentionTile<64, false, 3, 1, 64, 4, 2, false>, kSound>(params);
}
PID_KERNEL(attention_online_d64_q192_k64_s4_poly1_pingpong_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, false, 3, 1, 64, 4, 1, true>>()) {
    attention_sm90<AttentionTile<64, false, 3, 1, 64, 4, 1, true>, kSound>(params);
}
PID_KERNEL(attention_online_d64_q128_k128_s3_poly1_sm90, PidAttentionSm90Params,
           attention_entry<AttentionTile<64, false, 2, 1, 128, 3, 1, false>>()) {
    attention_sm90<AttentionTile<64, false, 2, 1, 128, 3, 1, false>, kSound>(params);
}

using Faulty = AttentionTile<64, false, 3, 1, 64, 4, 1, false>;
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_init_fence, attention_sm90<Faulty, kNoInitFence>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_init_sync, attention_sm90<Faulty, kNoInitSync>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_query_wait, attention_sm90<Faulty, kNoQueryWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_key_wait, attention_sm90<Faulty, kNoKeyWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_value_wait, attention_sm90<Faulty, kNoValueWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_key_slot_wait, attention_sm90<Faulty, kNoKeySlotWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_value_slot_wait, attention_sm90<Faulty, kNoValueSlotWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_key_release, attention_sm90<Faulty, kNoKeyRelease>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_value_release, attention_sm90<Faulty, kNoValueRelease>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_score_fence, attention_sm90<Faulty, kNoScoreFence>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_output_fence, attention_sm90<Faulty, kNoOutputFence>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_first_score_wait, attention_sm90<Faulty, kNoFirstScoreWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_score_wait, attention_sm90<Faulty, kNoScoreWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_output_wait, attention_sm90<Faulty, kNoOutputWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_last_wait, attention_sm90<Faulty, kNoLastWait>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_tail_mask, attention_sm90<Faulty, kNoTailMask>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_staging_fence, attention_sm90<Faulty, kNoStagingFence>)
PID_FAULT(attention_online_d64_q192_k64_s4_poly1_sm90, no_store_wait, attention_sm90<Faulty, kNoStoreWait>)
