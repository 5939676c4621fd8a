//! The library's error: one variant per boundary.

use crate::checkpoint::CheckpointError;
use crate::exec::ExecError;
use crate::graph::GraphError;
use crate::latent::InputError;
use crate::models::pid::{ConfigError, ProgramError, SizeError};
use crate::output::OutputError;
use crate::plan::PlanError;
use crate::sampler::{NoiseError, ScheduleError};

/// Everything that can go wrong between a checkpoint and a picture. Messages carry names and values and say
/// what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error(transparent)]
    Noise(#[from] NoiseError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Weights(#[from] crate::weights::PrepareError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Tuning(#[from] crate::kernels::tuning::TuningError),
    #[error("device: {0}")]
    Device(String),
}

impl From<ProgramError> for Error {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::Size(error) => error.into(),
            ProgramError::Graph(error) => error.into(),
            ProgramError::Plan(error) => error.into(),
        }
    }
}
