//! The attention of sm_90a: every variant, its launch, and its faulty copies.

use pid_engine::kernels::OpCall;
use pid_engine::kernels::family::{FAMILIES, Variants};
use pid_engine::kernels::params::PidAttentionParams;

use super::case::{Case, Logits, Shape};
use super::{KERNELS, assert_passes, faults, shape};
use crate::faults::assert_caught;
use crate::under_test::{devices, emulators, entry, in_turn};

/// All but the portable ones, every one of which the tests below run.
pub fn variants() -> impl Iterator<Item = &'static str> {
    attentions().flat_map(|variants| variants.kernels.iter().copied())
}

fn attentions() -> impl Iterator<Item = &'static Variants> {
    let all = FAMILIES.iter().filter(|family| family.name() != "portable").flat_map(|family| family.variants());
    all.filter(|variants| variants.op.starts_with("attention_"))
}

fn head_dim(kernel: &str) -> u32 {
    entry(kernel).tile[2]
}

#[test]
#[ignore = "slow: CI runs it"]
fn every_variant() {
    // Rings that turn more than once, and a last tile of every size.
    let shapes = [(331, 0, Logits::Usual), (203, 70, Logits::Small), (97, 0, Logits::Edges)];
    for (turn, (tokens, query_start, logits)) in shapes.into_iter().enumerate() {
        let cases = [64, 72].map(|d| Case::new(Shape { query_start, ..shape(tokens, d) }, logits));
        for (i, kernel) in variants().enumerate() {
            let case = if head_dim(kernel) == 64 { &cases[0] } else { &cases[1] };
            assert_passes(case, &[kernel], &in_turn(&devices(), i + turn));
        }
    }
}

#[test]
fn defaults_are_the_ones_tested() {
    for variants in attentions() {
        for name in [variants.op, variants.default().name] {
            assert!(KERNELS.iter().any(|(_, online, bounded)| [*online, *bounded].contains(&name)), "{name}");
        }
    }
}

#[test]
fn every_online_variant_follows_the_maximum() {
    for logits in [Logits::Rising, Logits::Wide] {
        let cases = [64, 72].map(|d| Case::new(shape(203, d), logits));
        for kernel in variants().filter(|kernel| entry(kernel).op.starts_with("attention_online")) {
            let case = if head_dim(kernel) == 64 { &cases[0] } else { &cases[1] };
            assert_passes(case, &[kernel], &devices());
        }
    }
}

#[test]
fn launches_are_as_declared() {
    let device = &emulators()[0];
    let (input, output) = (device.input(&[0u16; 64]), device.output::<u16>(64));
    let (q, k, v) = (input.ptr(), input.ptr(), input.ptr());
    let params =
        PidAttentionParams { q, k, v, output: output.mut_ptr(), batch: 1, heads: 1, tokens: 1, query_start: 0 };
    let call = |op| OpCall::attention(op, &params);
    let kernel = "attention_bounded_d64_q192_k64_s4_poly2_sm90";
    let launch = device.launch(kernel, &call("attention_bounded_d64")).unwrap();
    assert_eq!((launch.grid, launch.threads), ([1, 1, 1], 512));
    // 192 queries, 4 slots of 64 rows for K and for V, 128 bytes each; mbarriers.
    assert_eq!(launch.shared_bytes, (192 + 8 * 64) * 128 + 1024);
    let error = device.launch(kernel, &call("attention_online_d64")).unwrap_err().to_string();
    assert!(error.contains(kernel) && error.contains("no launch for"), "{error}");
}

#[test]
fn faults_are_caught() {
    let [d64, d72] = [64, 72].map(|d| Case::new(shape(331, d), Logits::Small));
    assert_caught(&faults("sm90"), |device, kernel| {
        let case = if head_dim(kernel) == 64 { &d64 } else { &d72 };
        case.test(device, kernel)
    });
}
