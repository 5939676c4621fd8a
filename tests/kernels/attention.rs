//! `attention_*`: softmax over all keys, by heads of 64 and 72, with a running maximum or bounded scores.

mod case;
mod sm90;

use case::{Case, Logits, Shape};

use crate::device::{devices, one_device};
use crate::faults::assert_caught;

pub const FAULTS: &[&str] = &[
    "attention_online_d64_no_key_wait",
    "attention_online_d64_no_value_wait",
    "attention_online_d64_no_query_wait",
    "attention_online_d64_no_key_barrier",
    "attention_online_d64_no_value_barrier",
    "attention_online_d64_no_query_barrier",
    "attention_online_d64_no_query_release",
    "attention_online_d64_no_slot_release",
    "attention_online_d64_no_tail_mask",
    "attention_online_d64_no_tail_guard",
    "attention_online_d64_no_query_guard",
    "attention_online_d64_no_row_guard",
    "attention_online_d64_no_staging_sync",
    "attention_online_d72_no_zero_columns",
];

/// Head size, the form with a running maximum, the form for bounded scores.
const KERNELS: [(usize, &str, &str); 2] =
    [(64, "attention_online_d64", "attention_bounded_d64"), (72, "attention_online_d72", "attention_bounded_d72")];

/// Around the key tile of 64 and the query tile of 128.
const TOKENS: [usize; 8] = [1, 63, 64, 65, 127, 128, 129, 331];

fn shape(tokens: usize, head_dim: usize) -> Shape {
    Shape { batch: 2, heads: 3, tokens, query_start: 0, head_dim }
}

#[test]
fn any_number_of_tokens() {
    let devices = devices();
    for (d, online, bounded) in KERNELS {
        for (i, tokens) in TOKENS.into_iter().enumerate() {
            let logits = if i % 2 == 0 { Logits::Usual } else { Logits::Small };
            let case = Case::new(shape(tokens, d), logits);
            for device in &devices {
                case.test(device, online).unwrap();
                case.test(device, bounded).unwrap();
            }
        }
    }
}

#[test]
fn any_first_query() {
    for (d, online, bounded) in KERNELS {
        for query_start in [1, 130, 202] {
            let case = Case::new(Shape { query_start, ..shape(203, d) }, Logits::Usual);
            for device in devices() {
                case.test(&device, online).unwrap();
                case.test(&device, bounded).unwrap();
            }
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
            for device in devices() {
                case.test(&device, online).unwrap();
            }
        }
    }
}

#[test]
fn scores_at_the_bounds() {
    for (d, online, bounded) in KERNELS {
        let case = Case::new(shape(203, d), Logits::Edges);
        assert!(case.largest_score > 98.0);
        for device in devices() {
            case.test(&device, online).unwrap();
            case.test(&device, bounded).unwrap();
        }
    }
}

#[test]
fn the_network_s_heads() {
    // 24 heads of 64 on text and image, the text's queries left out as in the last block; 16 of 72 on the image alone.
    let joint = Shape { batch: 1, heads: 24, tokens: 364, query_start: 300, head_dim: 64 };
    let pixel = Shape { batch: 2, heads: 16, tokens: 64, query_start: 0, head_dim: 72 };
    for (shape, (_, online, bounded)) in [joint, pixel].into_iter().zip(KERNELS) {
        let case = Case::new(shape, Logits::Usual);
        for device in one_device() {
            case.test(&device, online).unwrap();
            case.test(&device, bounded).unwrap();
        }
    }
}

#[test]
fn many_tiles() {
    for (d, online, bounded) in KERNELS {
        let case = Case::new(Shape { batch: 1, heads: 2, ..shape(1100, d) }, Logits::Usual);
        for device in one_device() {
            case.test(&device, online).unwrap();
            case.test(&device, bounded).unwrap();
        }
    }
}

#[test]
fn two_runs_are_equal() {
    for (d, online, bounded) in KERNELS {
        let case = Case::new(shape(203, d), Logits::Usual);
        for kernel in [online, bounded] {
            let runs: Vec<_> = devices().iter().map(|device| case.run(device, kernel).unwrap()).collect();
            assert!(runs.iter().all(|run| *run == runs[0]), "{kernel}");
        }
    }
}

#[test]
fn faults_are_caught() {
    // What `any_number_of_tokens` finds the sound kernels right on.
    let [d64, d72] = [64, 72].map(|d| Case::new(shape(331, d), Logits::Small));
    assert_caught(FAULTS, |device, kernel| {
        let case = if kernel.contains("_d72") { &d72 } else { &d64 };
        case.test(device, kernel)
    });
}
