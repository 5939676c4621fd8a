//! The attention of sm_90a: every variant, its launch, and its faulty copies.

use pid_engine::kernels::params::PidAttentionParams;
use pid_engine::kernels::{launch, variants};

use super::case::{Case, Logits, Shape};
use super::{KERNELS, assert_passes, shape};
use crate::device::{devices, emulators};
use crate::faults::assert_caught;

pub const FAULTS: &[&str] = &[
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_init_fence",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_init_sync",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_query_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_key_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_value_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_key_slot_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_value_slot_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_key_release",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_value_release",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_score_fence",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_output_fence",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_first_score_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_score_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_output_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_last_wait",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_tail_mask",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_staging_fence",
    "attention_online_d64_q192_k64_s4_poly1_sm90_no_store_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_init_fence",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_init_sync",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_query_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_key_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_value_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_key_slot_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_value_slot_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_key_release",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_value_release",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_score_fence",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_output_fence",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_first_score_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_score_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_output_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_last_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_tail_mask",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_staging_fence",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_staging_sync",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_store_wait",
    "attention_bounded_d72_q256_k64_s4_poly0_sm90_no_zero_columns",
];

/// Those of sm_90a, every one of which the tests below run.
pub fn variants() -> impl Iterator<Item = &'static str> {
    let all = variants::ALL.iter().filter(|v| v.base.starts_with("attention_"));
    all.flat_map(|v| v.kernels).copied()
}

fn head_dim(kernel: &str) -> usize {
    if kernel.contains("_d64_") { 64 } else { 72 }
}

#[test]
#[ignore = "slow: CI runs it"]
fn every_variant() {
    // Rings that turn more than once, and a last tile of every size.
    for (tokens, query_start, logits) in [(331, 0, Logits::Usual), (203, 70, Logits::Small), (97, 0, Logits::Edges)] {
        let cases = [64, 72].map(|d| Case::new(Shape { query_start, ..shape(tokens, d) }, logits));
        for kernel in variants() {
            let case = if head_dim(kernel) == 64 { &cases[0] } else { &cases[1] };
            assert_passes(case, &[kernel], &devices());
        }
    }
}

#[test]
fn defaults_are_variants_of_the_same_form_and_the_ones_tested() {
    for v in variants::ALL.iter().filter(|v| v.base.starts_with("attention_")) {
        for name in [v.base, v.default()] {
            assert!(name.starts_with(v.base), "{}: {name}", v.base);
            assert!(KERNELS.iter().any(|(_, online, bounded)| [*online, *bounded].contains(&name)), "{name}");
        }
    }
}

#[test]
fn every_online_variant_follows_the_maximum() {
    for logits in [Logits::Rising, Logits::Wide] {
        let cases = [64, 72].map(|d| Case::new(shape(203, d), logits));
        for kernel in variants().filter(|kernel| kernel.contains("_online_")) {
            let case = if head_dim(kernel) == 64 { &cases[0] } else { &cases[1] };
            assert_passes(case, &[kernel], &devices());
        }
    }
}

#[test]
fn a_name_without_a_variant_is_refused() {
    let device = &emulators()[0];
    let (input, output) = (device.input(&[0u16; 64]), device.output::<u16>(64));
    let (q, k, v) = (input.ptr(), input.ptr(), input.ptr());
    let params =
        PidAttentionParams { q, k, v, output: output.mut_ptr(), batch: 1, heads: 1, tokens: 1, query_start: 0 };
    let launch = |kernel| launch::attention_sm90(kernel, &*device.driver, &params);
    let error = launch("attention_bounded_d64").unwrap_err().to_string();
    assert!(error.starts_with("attention_bounded_d64: expected attention_<form>"), "{error}");
    let call = launch("attention_bounded_d64_q192_k64_s4_poly2_sm90").unwrap();
    assert_eq!((call.grid, call.threads), ([1, 1, 1], 512));
    // 192 queries, 4 slots of 64 rows for K and for V, 128 bytes each; mbarriers.
    assert_eq!(call.shared_bytes, (192 + 8 * 64) * 128 + 1024);
}

#[test]
fn faults_are_caught() {
    let [d64, d72] = [64, 72].map(|d| Case::new(shape(331, d), Logits::Small));
    assert_caught(FAULTS, |device, kernel| {
        let case = if head_dim(kernel) == 64 { &d64 } else { &d72 };
        case.test(device, kernel)
    });
}
