//! From what a file holds to what the network needs: prefixes, tensors to ignore, and the whole check.

use std::collections::BTreeMap;

use super::{Checkpoint, CheckpointError, Mismatch};
use crate::model::{Config, names};

/// Prefixes under which public checkpoints keep the network, longest first.
const PREFIXES: [&str; 5] = ["model.diffusion_model.net.", "model.diffusion_model.", "core.", "net.", ""];
/// Networks that a training checkpoint holds besides.
const OTHER_NETWORKS: [&str; 3] = ["net_ema.", "fake_score.", "discriminator."];
/// A tensor that every network has, to find its prefix by.
const LANDMARK: &str = "s_embedder.proj.weight";

impl Checkpoint {
    /// The network's own tensors, without prefix; training-only tensors and other networks are dropped.
    ///
    /// # Errors
    /// When the checkpoint is an undistilled teacher.
    pub fn into_network(mut self) -> Result<Self, CheckpointError> {
        let says_teacher = |text: &str| text.to_lowercase().contains("undistill");
        // Released checkpoints are all called model_ema_bf16.pth; their folder tells them apart.
        let names = self.path.iter().flat_map(|p| [p.file_name(), p.parent().and_then(|f| f.file_name())]);
        let in_path = names.flatten().any(|name| says_teacher(&name.to_string_lossy()));
        if in_path || self.metadata.values().any(|v| says_teacher(v)) {
            return Err(CheckpointError::Teacher { path: self.shown() });
        }
        let has = |prefix: &&&str| self.tensors.contains_key(&format!("{prefix}{LANDMARK}"));
        let prefix = PREFIXES.iter().find(has).copied().unwrap_or("");
        let ignored =
            |name: &str| names::TRAINING_ONLY.iter().chain(&OTHER_NETWORKS).any(|start| name.starts_with(start));
        self.tensors = std::mem::take(&mut self.tensors)
            .into_iter()
            .filter(|(name, _)| !ignored(name))
            .map(|(name, entry)| (name.strip_prefix(prefix).unwrap_or(&name).to_owned(), entry))
            .filter(|(name, _)| !ignored(name))
            .collect();
        self.fingerprint.take();
        Ok(self)
    }

    /// Checks that the tensors are exactly those of the network, in usable shapes and storage types.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`] lists every difference.
    pub fn check(&self, config: &Config) -> Result<(), CheckpointError> {
        let needed: BTreeMap<String, Vec<usize>> =
            names::tensors(config).into_iter().map(|t| (t.name, t.shape)).collect();
        let mut mismatch = Mismatch::default();
        for (name, shape) in &needed {
            match self.tensors.get(name) {
                None => mismatch.missing.push(format!("{name} {shape:?}")),
                Some(entry) if entry.shape != *shape => {
                    mismatch.misshapen.push(format!("{name} {:?} (expected {shape:?})", entry.shape));
                }
                Some(entry) if !entry.dtype.is_weight() => {
                    mismatch.untyped.push(format!("{name} {} (expected bf16, f16, f32 or f8_e4m3)", entry.dtype));
                }
                Some(_) => {}
            }
        }
        mismatch.unexpected = self.names().filter(|n| !needed.contains_key(*n)).map(str::to_owned).collect();
        if mismatch.is_empty() {
            return Ok(());
        }
        let config = config.name().map_or_else(|| config.to_string(), str::to_owned);
        Err(CheckpointError::Mismatch { path: self.shown(), config, mismatch: Box::new(mismatch) })
    }
}
