//! Flags of commands that take a checkpoint: which network of it.

use std::path::Path;

use clap::Args;

use super::report::CliError;
use crate::checkpoint::{Checkpoint, OpenOptions};

/// Flags of every command that takes a checkpoint.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct CheckpointFlags {
    /// Network to take of a checkpoint that holds several: its key or prefix, e.g. ema; "." is the one without.
    #[arg(long, value_name = "KEY")]
    weights: Option<String>,
    /// Take the checkpoint for a distilled student, whatever its name says.
    #[arg(long)]
    student: bool,
}

impl CheckpointFlags {
    /// Opens the checkpoint at `path`.
    pub(super) fn open(&self, path: &Path) -> Result<Checkpoint, CliError> {
        let options = OpenOptions { weights: self.weights.clone(), student: self.student };
        Ok(Checkpoint::open_with(path, &options)?)
    }

    /// Refuses the flags where no checkpoint is named.
    pub(super) fn fits(&self, checkpoint: Option<&Path>) -> Result<(), CliError> {
        if checkpoint.is_none() && (self.weights.is_some() || self.student) {
            return Err(CliError::usage("--weights and --student need a --checkpoint"));
        }
        Ok(())
    }
}
