//! A case of a kernel: what it holds afterwards, row by row, against what it must.

use crate::under_test::Device;
use crate::values::{Rounding, check, from_bits, widen};

/// What an output holds, comparable bit by bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Bf16(Vec<u16>),
    F32(Vec<u32>),
}

impl From<Vec<u16>> for Held {
    fn from(values: Vec<u16>) -> Self {
        Self::Bf16(values)
    }
}

impl From<Vec<f32>> for Held {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values.into_iter().map(f32::to_bits).collect())
    }
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Bf16(bits) => bits.len(),
            Self::F32(bits) => bits.len(),
        }
    }

    fn rows(&self, rows: &[usize], width: usize) -> Vec<f64> {
        let all = match self {
            Self::Bf16(bits) => from_bits(bits),
            Self::F32(bits) => widen(&bits.iter().map(|b| f32::from_bits(*b)).collect::<Vec<f32>>()),
        };
        rows.iter().flat_map(|row| all[row * width..][..width].iter().copied()).collect()
    }

    /// The first element outside `rows` that is not what it was; `None` before: an output, NaN.
    fn changed(&self, before: Option<&Self>, rows: &[usize], width: usize) -> Option<usize> {
        let mut outside = vec![true; self.len() / width];
        rows.iter().for_each(|row| outside[*row] = false);
        let same = |i: usize| match (self, before) {
            (Self::Bf16(now), None) => now[i] == u16::MAX,
            (Self::F32(now), None) => now[i] == u32::MAX,
            (Self::Bf16(now), Some(Self::Bf16(then))) => now[i] == then[i],
            (Self::F32(now), Some(Self::F32(then))) => now[i] == then[i],
            _ => false,
        };
        (0..self.len()).find(|i| outside[i / width] && !same(*i))
    }
}

/// What an output must hold.
pub struct Expected {
    pub name: &'static str,
    pub width: usize,
    /// What it held, where it is updated; NaN otherwise.
    pub before: Option<Held>,
    /// Rows that are written, in the order of the values below; the others stay as they were.
    pub rows: Vec<usize>,
    exact: Vec<f64>,
    plain: Vec<f64>,
}

impl Expected {
    /// `values` gives rows of `width`, in the order of `rows`.
    pub fn new(name: &'static str, width: usize, rows: Vec<usize>, values: impl Fn(Rounding) -> Vec<f64>) -> Self {
        let (exact, plain) = (values(Rounding::Exact), values(Rounding::Plain));
        assert_eq!(exact.len(), rows.len() * width, "{name}");
        Self { name, width, before: None, rows, exact, plain }
    }

    fn check(&self, what: &str, got: &Held, slack: f64) -> Result<(), String> {
        let what = format!("{what}: {}", self.name);
        check(&what, &got.rows(&self.rows, self.width), &self.exact, &self.plain, slack)?;
        match got.changed(self.before.as_ref(), &self.rows, self.width) {
            Some(at) => {
                Err(format!("{what}: element {at}, row {}, is not the launch's, but was written", at / self.width))
            }
            None => Ok(()),
        }
    }
}

/// One set of operands of a kernel.
pub trait Case {
    fn name(&self) -> String;
    /// Products in each sum.
    fn inner(&self) -> usize;
    /// Its outputs in the order of `expected`.
    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<Held>, String>;
    fn expected(&self) -> Vec<Expected>;
}

/// A case and what it must give, computed once for all devices.
pub struct Test<C> {
    case: C,
    expected: Vec<Expected>,
}

impl<C: Case> Test<C> {
    pub fn new(case: C) -> Self {
        let expected = case.expected();
        Self { case, expected }
    }

    pub fn check(&self, device: &Device, kernel: &'static str) -> Result<(), String> {
        self.check_held(device, kernel, &self.case.run(device, kernel)?)
    }

    pub fn check_held(&self, device: &Device, kernel: &str, held: &[Held]) -> Result<(), String> {
        assert_eq!(held.len(), self.expected.len());
        let what = format!("{kernel} {}", self.case.name());
        let slack = device.sum_error(self.case.inner());
        self.expected.iter().zip(held).try_for_each(|(expected, got)| expected.check(&what, got, slack))
    }
}

/// Those of `kernels` that are for `device`.
fn of_device<'a>(device: &'a Device, kernels: &'a [&'static str]) -> impl Iterator<Item = &'static str> {
    let (runs, others): (Vec<&str>, Vec<&str>) = kernels.iter().partition(|kernel| device.runs(kernel));
    if !others.is_empty() {
        println!("skipped on {}: {} kernels of sm_90a", device.name, others.len());
    }
    runs.into_iter()
}

/// Asserts that every one of `kernels` is right in all `cases` on all `devices` that it is for.
pub fn assert_right<C: Case>(kernels: &[&'static str], devices: &[Device], cases: impl IntoIterator<Item = C>) {
    for test in cases.into_iter().map(Test::new) {
        for device in devices {
            for kernel in of_device(device, kernels) {
                test.check(device, kernel).unwrap_or_else(|e| panic!("{}: {e}", device.name));
            }
        }
    }
}

/// Asserts that each of `kernels` gives the same bits in every run, on whatever schedule, and that they are right.
pub fn assert_repeats<C: Case>(kernels: &[&'static str], devices: &[Device], case: C) {
    let test = Test::new(case);
    for kernel in of_device(&devices[0], kernels) {
        let mut first: Option<Vec<Held>> = None;
        for device in devices.iter().chain(&devices[..1]) {
            let held = test.case.run(device, kernel).unwrap_or_else(|e| panic!("{}: {e}", device.name));
            test.check_held(device, kernel, &held).unwrap_or_else(|e| panic!("{}: {e}", device.name));
            let first = first.get_or_insert_with(|| held.clone());
            assert!(*first == held, "{}: {kernel} gave other bits than before", device.name);
        }
    }
}

#[test]
fn a_row_outside_the_launch_is_seen() {
    let expected = Expected::new("output", 2, vec![1], |_| vec![1.0, 2.0]);
    let poison = f32::from_bits(u32::MAX);
    assert_eq!(expected.check("t", &vec![poison, poison, 1.0, 2.0].into(), 0.0), Ok(()));
    assert!(expected.check("t", &vec![poison, 0.0, 1.0, 2.0].into(), 0.0).unwrap_err().contains("element 1, row 0"));
    let updated = Expected { before: Some(vec![3.0f32, 4.0, 0.0, 0.0].into()), ..expected };
    assert_eq!(updated.check("t", &vec![3.0, 4.0, 1.0, 2.0].into(), 0.0), Ok(()));
    assert!(updated.check("t", &vec![3.0, poison, 1.0, 2.0].into(), 0.0).is_err());
}
