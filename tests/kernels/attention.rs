//! `attention_*`: softmax over all keys, by heads of 64 and 72, with a running maximum or bounded scores. The kernels of
//! sm_90a are held to the same as the portable ones.

mod case;
pub mod sm90;

use case::{Case, Logits, Shape};

use crate::faults::{assert_caught, faults_where};
use crate::under_test::{Device, IS_SANITIZED, devices, entry, in_turn, one_device};

/// Faulty copies of the kernels of `family`.
fn faults(family: &str) -> Vec<&'static str> {
    faults_where(|entry| entry.op.starts_with("attention_") && entry.family == family)
}

/// Head size, the form with a running maximum, the form for bounded scores.
const KERNELS: [(usize, &str, &str); 4] = [
    (64, "attention_online_d64", "attention_bounded_d64"),
    (72, "attention_online_d72", "attention_bounded_d72"),
    (64, "attention_online_d64_q192_k64_s4_poly1_sm90", "attention_bounded_d64_q192_k64_s4_poly2_sm90"),
    (72, "attention_online_d72_q128_k96_s3_poly0_sm90", "attention_bounded_d72_q256_k64_s3_poly0_pingpong_sm90"),
];

/// Around the key tiles of 64, 80 and 96 and the query tiles of 128, 192 and 256.
const TOKENS: [usize; 13] = [1, 63, 64, 65, 81, 127, 128, 129, 191, 192, 193, 257, 331];

/// Those of `devices` that the kernel is for.
fn able(kernel: &str, devices: &[Device]) -> Vec<Device> {
    let able: Vec<Device> = devices.iter().filter(|device| device.runs(kernel)).cloned().collect();
    if able.len() < devices.len() {
        println!("skipped: {kernel} on {} devices that lack what it needs", devices.len() - able.len());
    }
    able
}

/// Asserts that the kernels pass on all devices that they are for.
fn assert_passes(case: &Case, kernels: &[&'static str], devices: &[Device]) {
    for kernel in kernels {
        for device in able(kernel, devices) {
            case.test(&device, kernel).unwrap();
        }
    }
}

fn shape(tokens: usize, head_dim: usize) -> Shape {
    Shape { batch: 2, heads: 3, tokens, query_start: 0, head_dim }
}

#[test]
#[ignore = "slow: CI runs it"]
fn any_number_of_tokens() {
    let devices = devices();
    for (d, online, bounded) in KERNELS {
        for (i, tokens) in TOKENS.into_iter().enumerate() {
            // Slow where instrumented: sizes that end within a tile, few of each kind.
            if IS_SANITIZED && ![1, 63, 65, 81, 129, 193].contains(&tokens) {
                continue;
            }
            let logits = if i % 2 == 0 { Logits::Usual } else { Logits::Small };
            let case = Case::new(shape(tokens, d), logits);
            // Every schedule runs 203 tokens below.
            assert_passes(&case, &[online, bounded], &in_turn(&devices, i));
        }
    }
}

#[test]
fn any_first_query() {
    for (d, online, bounded) in KERNELS {
        for query_start in [1, 130, 202] {
            let case = Case::new(Shape { query_start, ..shape(203, d) }, Logits::Usual);
            assert_passes(&case, &[online, bounded], &devices());
        }
    }
}

#[test]
fn any_finite_scores() {
    for (d, online, _) in KERNELS {
        for logits in [Logits::Wide, Logits::Low, Logits::Rising] {
            let case = Case::new(shape(203, d), logits);
            // Beyond these a weight without the maximum is infinite, or all of a row's are zero.
            assert!(logits == Logits::Rising || case.largest_score > 1000.0);
            assert_passes(&case, &[online], &devices());
        }
    }
}

#[test]
fn scores_at_the_bounds() {
    for (d, online, bounded) in KERNELS {
        let case = Case::new(shape(203, d), Logits::Edges);
        assert!(case.largest_score > 98.0);
        assert_passes(&case, &[online, bounded], &devices());
    }
}

#[test]
fn the_network_s_heads() {
    // 24 heads of 64 on text and image, the text's queries left out as in the last block; 16 of 72 on the image alone.
    let joint = Shape { batch: 1, heads: 24, tokens: 364, query_start: 300, head_dim: 64 };
    let pixel = Shape { batch: 2, heads: 16, tokens: 64, query_start: 0, head_dim: 72 };
    for (d, online, bounded) in KERNELS {
        let case = Case::new(if d == 64 { joint } else { pixel }, Logits::Usual);
        assert_passes(&case, &[online, bounded], &one_device());
    }
}

#[test]
fn many_tiles() {
    for (d, online, bounded) in KERNELS {
        let case = Case::new(Shape { batch: 1, heads: 2, ..shape(1100, d) }, Logits::Usual);
        assert_passes(&case, &[online, bounded], &one_device());
    }
}

#[test]
fn two_runs_are_equal() {
    for (d, online, bounded) in KERNELS {
        let case = Case::new(shape(203, d), Logits::Usual);
        for kernel in [online, bounded] {
            let runs: Vec<_> =
                able(kernel, &devices()).iter().map(|device| case.run(device, kernel).unwrap()).collect();
            assert!(runs.windows(2).all(|pair| pair[0] == pair[1]), "{kernel}");
        }
    }
}

#[test]
fn faults_are_caught() {
    // What `any_number_of_tokens` finds the sound kernels right on.
    let [d64, d72] = [64, 72].map(|d| Case::new(shape(331, d), Logits::Small));
    assert_caught(&faults("portable"), |device, kernel| {
        let case = if entry(kernel).tile[2] == 72 { &d72 } else { &d64 };
        case.test(device, kernel)
    });
}
