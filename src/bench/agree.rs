//! Whether two kernels that compute the same give the same.
//!
//! Sums in another order and other exponentials move values within the rounding of the result: bf16 keeps 8 bits, float32 sums
//! of thousands of terms some 17. A tile that is left out, or a value that comes too early, is off by as much as values are
//! large.

use serde::Serialize;

use crate::graph::ElementType;

/// How far a result is from another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Distance {
    /// `|x - r| / |r|` in the 2-norm; infinite where a value is not finite.
    pub relative_l2: f64,
    /// `max|x - r| / max|r|`; infinite where a value is not finite.
    pub worst: f64,
}

impl Distance {
    /// Of `got` from `expected`.
    pub(super) fn between(got: &[f32], expected: &[f32]) -> Self {
        if got.len() != expected.len() || !got.iter().all(|x| x.is_finite()) {
            return Self { relative_l2: f64::INFINITY, worst: f64::INFINITY };
        }
        let (mut squares, mut of, mut worst, mut largest) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for (x, r) in got.iter().zip(expected) {
            let (x, r) = (f64::from(*x), f64::from(*r));
            squares += (x - r).powi(2);
            of += r * r;
            worst = worst.max((x - r).abs());
            largest = largest.max(r.abs());
        }
        let ratio = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a / b };
        Self { relative_l2: ratio(squares.sqrt(), of.sqrt()), worst: ratio(worst, largest) }
    }

    /// The larger of both figures of both.
    pub(super) fn or_worse(self, other: Self) -> Self {
        Self { relative_l2: self.relative_l2.max(other.relative_l2), worst: self.worst.max(other.worst) }
    }

    /// Whether rounding explains it.
    pub(super) fn is_rounding(self, element: ElementType) -> bool {
        let (relative_l2, worst) = match element {
            ElementType::Bf16 => (1e-2, 3e-2),
            ElementType::F32 | ElementType::I32 => (1e-3, 3e-3),
        };
        self.relative_l2 <= relative_l2 && self.worst <= worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_told_from_faults() {
        let expected: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let rounded: Vec<f32> = expected.iter().map(|x| half::bf16::from_f32(x * 1.001).to_f32()).collect();
        let close = Distance::between(&rounded, &expected);
        assert!(close.is_rounding(ElementType::Bf16) && !close.is_rounding(ElementType::F32), "{close:?}");
        assert_eq!(Distance::between(&expected, &expected), Distance::default());
        assert_eq!(Distance::between(&[0.0; 3], &[0.0; 3]), Distance::default());
        // One value of a thousand.
        let mut wrong = expected.clone();
        wrong[500] = -wrong[500];
        assert!(!Distance::between(&wrong, &expected).is_rounding(ElementType::Bf16));
        wrong[500] = f32::NAN;
        assert_eq!(Distance::between(&wrong, &expected).relative_l2, f64::INFINITY);
        assert!(!Distance::between(&[1.0], &[0.0]).is_rounding(ElementType::Bf16), "where nothing is expected");
    }
}
