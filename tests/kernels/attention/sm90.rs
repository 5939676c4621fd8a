//! The attention of sm_90a: what the portable kernels are tested on, and every variant.

use super::case::{Case, Logits, Shape};
use crate::device::devices;

#[test]
fn first() {
    for tokens in [1, 63, 129, 331] {
        let case = Case::new(Shape { batch: 2, heads: 3, tokens, query_start: 0, head_dim: 64 }, Logits::Usual);
        for device in devices() {
            for k in [
                "attention_bounded_d64_q128_k128_s2_poly0_sm90",
                "attention_bounded_d64_q192_k64_s4_poly0_sm90",
                "attention_bounded_d64_q256_k64_s4_poly0_sm90",
                "attention_online_d64_q192_k64_s4_poly4_sm90",
            ] {
                case.test(&device, k).unwrap();
            }
        }
    }
}
