//! Every kernel against its oracle, on any device: what `pid check` runs.
//!
//! The oracle of a launch is the CPU backend's op in float32, fed with the device's own inputs. For each [`Case`] the
//! bf16 program of a small network is walked on the device and on the CPU side by side: what a launch reads is copied
//! from the device to the CPU, both run the launch, and all that it writes is compared (`compare`). So a kernel is
//! checked through its real lowering, and an error does not reach the launches after it. Outputs start as NaN, and
//! every tensor lies between guard bands (`guard`), so that what a kernel forgets to write, or writes beside its
//! tensor, is seen.

pub mod baseline;
mod case;
mod compare;
mod decode;
#[cfg(feature = "emulator")]
mod fault;
mod guard;
mod opened;
mod report;
mod walk;

pub use case::{Case, cases};
pub use report::{Outcome, Row};

use std::sync::Arc;

use crate::backend::device::ceilings;
use crate::device::Device;
use crate::error::Error;
use crate::exec::DeviceError;
use crate::exec::{ExecError, Observer};
use crate::kernels::{KernelChoice, Selection, TuningFile};

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `Auto` is the first GPU, else the emulator.
    pub device: Device,
    /// Which of the device's kernels.
    pub kernels: KernelChoice,
    /// Where it says which of their variants; the default ones where it says nothing.
    pub tuning: TuningFile,
    /// Rows whose [`Row::id`] contains this.
    pub filter: Option<String>,
    /// On the emulator, the cases that take longer too.
    pub all: bool,
    /// A faulty copy of a kernel to run in its place; on the emulator alone.
    pub fault: Option<String>,
    /// Most memory that measuring a GPU's ceilings may take, bytes; as much as is free when `None`.
    pub ceiling_bytes: Option<usize>,
}

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CheckError {
    #[error("device {0}: the CPU is the oracle; check cuda[:N] or emulator")]
    Oracle(Device),
    #[error("--filter {0}: no row's CASE/KERNELS contains it; see --list and the names that a run prints")]
    NoRow(String),
    #[error("fault {name}: {reason}")]
    Fault { name: String, reason: String },
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Checks all cases that `options` select.
///
/// # Errors
/// When the device is not there or the cases cannot be set up; what is wrong with a kernel is a row of the outcome.
pub fn run(options: &Options, observer: &mut dyn Observer) -> Result<Outcome, CheckError> {
    let device = opened::open(options)?;
    let tuning = options.tuning.read(&device.driver.name()).map_err(|e| Error::Device(e.to_string()))?;
    let selection = Selection::new(&*device.driver, options.kernels).tuned(tuning.map(Arc::new));
    let ceilings = if device.is_gpu {
        Some(ceilings::measure(&device.driver, &selection, options.ceiling_bytes).map_err(device_error)?)
    } else {
        None
    };
    let selected: Vec<Case> = cases().into_iter().filter(|c| c.runs_on(device.is_gpu, options.all)).collect();
    let mut outcome = Outcome::new(device.driver.name(), ceilings.clone());
    for case in selected.into_iter().filter(|c| may_match(c.name, options.filter.as_deref())) {
        let prepared = case::Prepared::new(case, Arc::clone(&device.driver), &selection)?;
        let selects = |row: &str| options.filter.as_ref().is_none_or(|f| row.contains(f.as_str()));
        outcome.rows.extend(walk::walk(&prepared, &selects, ceilings.as_ref(), observer)?);
        outcome.rows.extend(decode::rows(&prepared, &selects, observer)?);
        outcome.cases.push(prepared.case.name.into());
    }
    match &options.filter {
        Some(filter) if outcome.rows.is_empty() => Err(CheckError::NoRow(filter.clone())),
        _ => Ok(outcome),
    }
}

/// Whether a row of `case` may contain `filter`: what stands before its slash must end the case's name.
fn may_match(case: &str, filter: Option<&str>) -> bool {
    filter.and_then(|f| f.split_once('/')).is_none_or(|(end, _)| case.ends_with(end))
}

fn device_error(error: DeviceError) -> CheckError {
    CheckError::Failed(ExecError::from(error).into())
}

/// What a kernel did to the device; other errors are not a kernel's fault.
fn device_failure(error: ExecError) -> Result<String, CheckError> {
    match error {
        ExecError::Device(DeviceError::OutOfMemory { .. }) | ExecError::OutOfMemory { .. } => {
            Err(CheckError::Failed(error.into()))
        }
        ExecError::Device(_) | ExecError::NotFinite { .. } => Ok(error.to_string()),
        _ => Err(CheckError::Failed(error.into())),
    }
}
