//! From what a file holds to what the network needs: its own tensors under their own names, scales joined to weights,
//! and the whole check.

use std::collections::BTreeMap;

use super::{Checkpoint, CheckpointError, Mismatch, shards, teacher};
use crate::models::pid::{Config, names};

impl Checkpoint {
    /// The network's own tensors, without prefix; quantised ones stand for bf16. What is beside the network is dropped, and
    /// [`Self::warnings`] says so.
    ///
    /// # Errors
    /// When it holds no network, several without one to prefer, an undistilled teacher, or weights quantised in a way that
    /// is not read.
    pub fn into_network(mut self) -> Result<Self, CheckpointError> {
        let named = teacher::evidence(self.path.as_deref(), &self.metadata).filter(|_| !self.options.student);
        if let Some(evidence) = named {
            return Err(CheckpointError::Teacher { path: self.shown(), evidence });
        }
        let prefix = self.keep_network()?;
        self.join_scales(&prefix)?;
        self.join_halves()?;
        self.settle_config();
        let is_whole = || self.detect_config().is_ok_and(|config| self.mismatch(&config).missing.is_empty());
        if let Some(message) = self.path.as_deref().and_then(shards::advice).filter(|_| !is_whole()) {
            return Err(CheckpointError::Shards { path: self.shown(), message });
        }
        self.fingerprint.take();
        Ok(self)
    }

    /// Drops a `config` in the metadata that is another program's where the shapes tell the network, and takes padding
    /// off weights.
    fn settle_config(&mut self) {
        let needed = |config: &Config| names::tensors(config).into_iter().map(|t| (t.name, t.shape));
        let by_shapes = self.config_of_shapes();
        if let Ok(config) = &by_shapes {
            self.trim_padding(needed(config));
        }
        let Some(text) = self.metadata.get("config") else { return };
        let problem = match Config::from_json(text) {
            Ok(config) if self.mismatch(&config).is_empty() => return,
            Ok(config) => format!("is that of another network ({config})"),
            Err(error) => format!("is no configuration of PiD ({error})"),
        };
        if by_shapes.is_ok_and(|config| self.mismatch(&config).is_empty()) {
            let shown = self.shown();
            self.warnings
                .push(format!("{shown}: the `config` in its metadata {problem}; the tensors' shapes tell the network"));
            self.metadata.remove("config");
        }
    }

    /// Checks that the tensors are exactly those of the network, in usable shapes and storage types.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`] lists every difference.
    pub fn check(&self, config: &Config) -> Result<(), CheckpointError> {
        let mismatch = self.mismatch(config);
        if mismatch.is_empty() {
            return Ok(());
        }
        let config = config.name().map_or_else(|| config.to_string(), str::to_owned);
        Err(CheckpointError::Mismatch { path: self.shown(), config, mismatch: Box::new(mismatch) })
    }

    fn mismatch(&self, config: &Config) -> Mismatch {
        let needed: BTreeMap<String, Vec<usize>> =
            names::tensors(config).into_iter().map(|t| (t.name, t.shape)).collect();
        let mut mismatch = Mismatch::default();
        for (name, shape) in &needed {
            match self.tensors.get(name) {
                None => mismatch.missing.push(format!("{name} {shape:?}")),
                Some(entry) if entry.shape != *shape => {
                    mismatch.misshapen.push(format!("{name} {:?} (expected {shape:?})", entry.shape));
                }
                Some(entry) if !entry.dtype.is_weight() && entry.coding.is_none() => {
                    mismatch
                        .untyped
                        .push(format!("{name} {} (expected bf16, f16, f32 or an 8-bit float)", entry.dtype));
                }
                Some(_) => {}
            }
        }
        mismatch.unexpected = self.names().filter(|n| !needed.contains_key(*n)).map(str::to_owned).collect();
        mismatch
    }
}
