//! Which network a checkpoint holds.

use super::{Checkpoint, CheckpointError};
use crate::models::Model;
use crate::models::pid::{Config, ConfigError, Pid};

impl Checkpoint {
    /// The configuration in the metadata (`config`, as JSON), or else what the shapes say. What does not show
    /// in shapes follows from the version (a pit gate means v1.5) and the number of latent channels, as in the
    /// released checkpoints.
    ///
    /// # Errors
    /// When the metadata's JSON is not a configuration, or a tensor that tells the shape is missing.
    pub fn detect_config(&self) -> Result<Config, CheckpointError> {
        let wrap = |source| CheckpointError::Config { path: self.shown(), source };
        match self.metadata.get("config") {
            Some(json) => Config::from_json(json).map_err(wrap),
            None => self.config_of_shapes().map_err(wrap),
        }
    }

    pub(super) fn config_of_shapes(&self) -> Result<Config, ConfigError> {
        Pid::detect(self)
    }

    /// Outputs of a linear layer; its bias has them even where the weight is padded. 0 when there is no such layer.
    pub(super) fn outputs(&self, layer: &str) -> usize {
        let first = |name: String| self.tensors.get(&name).and_then(|entry| entry.shape.first().copied());
        first(format!("{layer}.bias")).or_else(|| first(format!("{layer}.weight"))).unwrap_or(0)
    }
}
