//! One tensor of a launch against the oracle's, and the bounds.
//!
//! With r the CPU's float32 result and p = r rounded to the tensor's element type, a launch passes when
//! `max|x - r| <= 2 max|p - r| + slack max|r|` and `|x - r| <= 2 |p - r| + slack |r|` in the 2-norm. Slacks stand for
//! what a kernel rounds on its way, and for sums in another order.

use half::bf16;

use crate::graph::{ElementType, Op};

/// What a kernel may be off by beyond the rounding of its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slack {
    /// Of the largest difference.
    pub(super) worst: f64,
    /// Of the 2-norm.
    pub(super) norm: f64,
}

/// The table of slacks. Where a kernel rounds on its way, twice what that costs in the cases of this check on the
/// emulator (the largest is named); elsewhere the emulator shows at most 4e-7.
pub(super) fn slack_of(op: &Op) -> Slack {
    let slack = |worst, norm| Slack { worst, norm };
    match op {
        // The softmax's weights are rounded to bf16: 3.6e-3 and 7.7e-4.
        Op::Attention(_) => slack(7e-3, 1.6e-3),
        // The image is rounded to bf16: 2.2e-3 and 1.7e-3.
        Op::PatchEmbed(_) => slack(4.5e-3, 3.5e-3),
        // The merged expansion, the modulated pixel and the hidden layer are rounded to bf16: 2.7e-3 and 1.1e-3.
        Op::PixelUpdate(_) => slack(5.5e-3, 2.2e-3),
        // Sums in another order; tensor cores cut them off, up to 2^-23 of the sum for each 16 of thousands of terms.
        Op::Conv3x3(_)
        | Op::Linear(_)
        | Op::EmbedRows(_)
        | Op::FeatureGate(_)
        | Op::QkvProject(_)
        | Op::Glu(_)
        | Op::GatedResidual(_)
        | Op::PixelModulate(_) => slack(2e-5, 1e-5),
        // Short sums in another order, and a GPU's approximate exponentials, roots, sines and logarithms.
        Op::GroupNormSilu(_)
        | Op::Lookup(_)
        | Op::Copy(_)
        | Op::AddSilu(_)
        | Op::PixelEmbed(_)
        | Op::Noise(_)
        | Op::SampleStep(_) => slack(4e-6, 2e-6),
    }
}

/// How far a result is off, and how far it may be: relative to the largest and to the norm of the oracle's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Difference {
    pub(super) error: f64,
    pub(super) bound: f64,
    pub(super) norm_error: f64,
    pub(super) norm_bound: f64,
    /// What no bound excuses.
    pub(super) failure: Option<String>,
}

impl Difference {
    /// Error over bound, the worse of the two: above 1 is too much.
    pub(super) fn severity(&self) -> f64 {
        let share = |error: f64, bound: f64| if error == 0.0 { 0.0 } else { error / bound };
        share(self.error, self.bound).max(share(self.norm_error, self.norm_bound))
    }
}

/// `x` of a device against `r`, of tensors of `element`. Where r is NaN the op writes nothing: outputs start as NaN.
pub(super) fn compare(x: &[f32], r: &[f32], element: ElementType, slack: Slack) -> Difference {
    let mut found = Sums::default();
    let mut failure = None;
    for (index, (x, r)) in x.iter().zip(r).enumerate() {
        if r.is_nan() && x.is_nan() {
            continue;
        }
        if !x.is_finite() || !r.is_finite() {
            failure.get_or_insert_with(|| format!("element {index} is {x}, expected {r}"));
            continue;
        }
        found.add(f64::from(*x), f64::from(*r), f64::from(rounded(*r, element)));
    }
    // A tensor of zeros is compared absolutely.
    let (largest, norm) = (or_one(found.largest), or_one(found.squares.sqrt()));
    Difference {
        error: found.worst / largest,
        bound: 2.0 * found.worst_rounding / largest + slack.worst,
        norm_error: found.error_squares.sqrt() / norm,
        norm_bound: 2.0 * found.rounding_squares.sqrt() / norm + slack.norm,
        failure,
    }
}

fn or_one(x: f64) -> f64 {
    if x > 0.0 { x } else { 1.0 }
}

fn rounded(x: f32, element: ElementType) -> f32 {
    match element {
        ElementType::F32 | ElementType::I32 => x,
        ElementType::Bf16 => bf16::from_f32(x).to_f32(),
    }
}

#[derive(Default)]
struct Sums {
    largest: f64,
    squares: f64,
    worst: f64,
    error_squares: f64,
    worst_rounding: f64,
    rounding_squares: f64,
}

impl Sums {
    fn add(&mut self, x: f64, r: f64, p: f64) {
        let (error, rounding) = ((x - r).abs(), (p - r).abs());
        self.largest = self.largest.max(r.abs());
        self.squares += r * r;
        self.worst = self.worst.max(error);
        self.error_squares += error * error;
        self.worst_rounding = self.worst_rounding.max(rounding);
        self.rounding_squares += rounding * rounding;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLACK: Slack = Slack { worst: 1e-4, norm: 1e-4 };

    #[test]
    fn rounding_passes_and_more_does_not() {
        let r: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
        let x: Vec<f32> = r.iter().map(|r| rounded(*r, ElementType::Bf16)).collect();
        assert!(compare(&x, &r, ElementType::Bf16, SLACK).severity() < 1.0);
        assert!(compare(&x, &r, ElementType::F32, SLACK).severity() > 1.0, "float32 is not rounded to bf16");
        let mut one = x.clone();
        one[500] += 0.05;
        assert!(compare(&one, &r, ElementType::Bf16, SLACK).severity() > 1.0, "a single wrong element");
        let all: Vec<f32> = x.iter().map(|x| x * 1.006).collect();
        let found = compare(&all, &r, ElementType::Bf16, SLACK);
        assert!(found.norm_error > found.norm_bound, "a small error everywhere");
    }

    #[test]
    fn unwritten_and_stray_elements_fail() {
        let nan = f32::NAN;
        assert_eq!(compare(&[1.0, nan], &[1.0, nan], ElementType::F32, SLACK).failure, None);
        let failure = |x: &[f32], r: &[f32]| compare(x, r, ElementType::F32, SLACK).failure.unwrap();
        assert_eq!(failure(&[1.0, nan], &[1.0, 2.0]), "element 1 is NaN, expected 2");
        assert_eq!(failure(&[1.0, 2.0], &[1.0, nan]), "element 1 is 2, expected NaN");
        assert_eq!(failure(&[f32::INFINITY], &[1.0]), "element 0 is inf, expected 1");
    }
}
