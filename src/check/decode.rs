//! The whole decode of a case: against float32 on the CPU, and against itself.

use super::case::{Prepared, SEED};
use super::report::Row;
use super::{CheckError, device_failure};
use crate::exec::{self, Backend, ExecError, Observer};
use crate::models::pid::{self, Policy};
use crate::plan::Program;
use crate::sampler::{Noise, NoiseSource};

/// Relative L2 of the image: what the public code's own bf16 run is off by, and half as much again.
const NORM_BOUND: f64 = 3e-2;
/// Of the worst pixel: ten times the L2.
const BOUND: f64 = 3e-1;

/// The rows of `prepared`, if it has any that are selected.
pub(super) fn rows(
    prepared: &Prepared,
    selects: &dyn Fn(&str) -> bool,
    observer: &mut dyn Observer,
) -> Result<Vec<Row>, CheckError> {
    let case = prepared.case.name;
    let wanted = |row: &str| selects(&format!("{case}/{row}"));
    let names: Vec<&str> = ["decode", "decode-twice"].into_iter().filter(|row| wanted(row)).collect();
    if !prepared.case.whole || names.is_empty() {
        return Ok(Vec::new());
    }
    let program = prepared.plain(Policy::BF16)?;
    let images = decode(prepared, &prepared.device, &program, observer)
        .and_then(|first| Ok([first, decode(prepared, &prepared.device, &program, observer)?]));
    let [first, second] = match images {
        Ok(images) => images,
        Err(error) => {
            let failure = device_failure(error)?;
            let row = |kernels: &str| Row { failure: Some(failure.clone()), ..row(case, kernels, &[], &[]) };
            return Ok(names.into_iter().map(row).collect());
        }
    };
    let mut rows = Vec::new();
    if wanted("decode") {
        let program = prepared.plain(Policy::F32)?;
        let expected = decode(prepared, &prepared.cpu, &program, observer).map_err(|e| CheckError::Failed(e.into()))?;
        rows.push(Row { bound: BOUND, norm_bound: NORM_BOUND, ..row(case, "decode", &first, &expected) });
    }
    if wanted("decode-twice") {
        rows.push(row(case, "decode-twice", &second, &first));
    }
    Ok(rows)
}

fn decode(
    prepared: &Prepared,
    backend: &dyn Backend,
    program: &Program,
    observer: &mut dyn Observer,
) -> Result<Vec<f32>, ExecError> {
    let mut noise = Noise::new(NoiseSource::Philox { seed: SEED });
    let iterations = prepared.iterations();
    exec::run(backend, program, &prepared.inputs(), &iterations, pid::IMAGE, &mut noise, observer)
}

/// `image` against `expected`, which must be equal.
fn row(case: &str, kernels: &str, image: &[f32], expected: &[f32]) -> Row {
    let pairs = || image.iter().zip(expected).map(|(x, r)| (f64::from(*x), f64::from(*r)));
    let largest = pairs().map(|(_, r)| r.abs()).fold(f64::MIN_POSITIVE, f64::max);
    let norm = pairs().map(|(_, r)| r * r).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    Row {
        launches: 1,
        place: "image".into(),
        error: pairs().map(|(x, r)| (x - r).abs()).fold(0.0, f64::max) / largest,
        norm_error: pairs().map(|(x, r)| (x - r).powi(2)).sum::<f64>().sqrt() / norm,
        ..Row::empty(case, kernels)
    }
}
