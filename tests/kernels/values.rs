//! Random operands, and how far a result may be from the exact one.

use half::bf16;

/// Random numbers, the same in every run (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [-1, 1).
    pub fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `len` values in [-scale, scale), every 61st eight times as large.
    pub fn floats(&mut self, len: usize, scale: f32) -> Vec<f32> {
        let outlier = |i: usize| if i % 61 == 60 { 8.0 } else { 1.0 };
        (0..len).map(|i| self.value() * scale * outlier(i)).collect()
    }

    /// The same, rounded to bf16.
    pub fn bf16s(&mut self, len: usize, scale: f32) -> Vec<bf16> {
        self.floats(len, scale).into_iter().map(bf16::from_f32).collect()
    }
}

/// The bits that kernels take for bf16.
pub fn bits(values: &[bf16]) -> Vec<u16> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// bf16 bits as float64.
pub fn from_bits(bits: &[u16]) -> Vec<f64> {
    bits.iter().map(|b| f64::from(bf16::from_bits(*b))).collect()
}

pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// How a reference rounds: not at all, or where the definition says that a value is kept in bf16 or float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Exact,
    Plain,
}

impl Rounding {
    pub fn bf16(self, x: f64) -> f64 {
        match self {
            Self::Exact => x,
            // To float32 first, as the kernels' accumulators are.
            Self::Plain => f64::from(bf16::from_f32(x as f32)),
        }
    }

    pub fn f32(self, x: f64) -> f64 {
        match self {
            Self::Exact => x,
            Self::Plain => f64::from(x as f32),
        }
    }
}

/// float32 arithmetic in another order, relative to the largest value: sums of a few thousand products.
pub const SUM_ERROR: f64 = 4e-6;

/// Checks `got` against `exact`, where `plain` is the same computation rounded where the definition rounds:
/// `max|got - exact| <= 2 max|plain - exact| + slack max|exact|`, and the whole by `1 - 2<x,r> / (<x,x> + <r,r>)`, within
/// four times plain's (the square of the two) and the slack's square.
///
/// # Errors
/// Says where the worst element is, or which one is not finite.
pub fn check(what: &str, got: &[f64], exact: &[f64], plain: &[f64], slack: f64) -> Result<(), String> {
    if got.len() != exact.len() || got.len() != plain.len() {
        return Err(format!("{what}: {} values, {} expected", got.len(), exact.len()));
    }
    if let Some(i) = got.iter().position(|x| !x.is_finite()) {
        return Err(format!("{what}: element {i} of {} is {}, expected {}", got.len(), got[i], exact[i]));
    }
    let worst = |x: &[f64]| {
        let distance = x.iter().zip(exact).map(|(x, r)| (x - r).abs()).enumerate();
        distance.fold((0, 0.0), |worst, (i, d)| if d > worst.1 { (i, d) } else { worst })
    };
    let largest = exact.iter().fold(0.0f64, |m, r| m.max(r.abs()));
    let (at, error) = worst(got);
    let bound = 2.0 * worst(plain).1 + slack * largest;
    if error > bound {
        let (got, exact) = (got[at], exact[at]);
        return Err(format!(
            "{what}: element {at} is {got}, expected {exact}: off by {error:.3e}, allowed {bound:.3e}"
        ));
    }
    let (whole, allowed) = (difference(got, exact), 4.0 * difference(plain, exact) + slack * slack);
    if whole > allowed {
        return Err(format!("{what}: as a whole off by {whole:.3e}, allowed {allowed:.3e}"));
    }
    Ok(())
}

/// `1 - 2<x,r> / (<x,x> + <r,r>)`.
fn difference(x: &[f64], r: &[f64]) -> f64 {
    let (cross, total) = x.iter().zip(r).fold((0.0, 0.0), |(c, t), (x, r)| (c + (x - r) * (x - r), t + x * x + r * r));
    if total == 0.0 { 0.0 } else { cross / total }
}

#[test]
fn a_wrong_value_is_seen() {
    let exact: Vec<f64> = (0..100).map(f64::from).collect();
    assert!(check("same", &exact, &exact, &exact, 1e-6).is_ok());
    let mut wrong = exact.clone();
    wrong[7] += 1.0;
    assert!(check("one", &wrong, &exact, &exact, 1e-6).unwrap_err().contains("element 7 is 8, expected 7"));
    wrong[7] = f64::NAN;
    assert!(check("nan", &wrong, &exact, &exact, 1e-6).unwrap_err().contains("element 7 of 100 is NaN"));
    assert!(check("short", &exact[1..], &exact, &exact, 1e-6).is_err());
}
