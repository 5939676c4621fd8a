//! What a latent file of our own making says about itself, and what a decode holds against it.

use std::collections::BTreeMap;
use std::path::Path;

use super::dct16::Statistics;
use super::{InputError, Latent, Sigma};
use crate::checkpoint::{self, CheckpointError};
use crate::output::{Pending, SOFTWARE};

/// The code of a latent file's `pid.codec`.
const DCT16: &str = "dct16";

/// How a `dct16` latent was made; metadata of its file.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentRecord {
    /// Width of the encoded picture in pixels.
    pub width: usize,
    /// Its height.
    pub height: usize,
    /// What the latent was noised to.
    pub sigma: f32,
    /// Seed of that noise.
    pub seed: u64,
    /// What its channels are normalized by.
    pub statistics: Statistics,
}

impl LatentRecord {
    fn metadata(&self) -> BTreeMap<String, String> {
        let mut entries = BTreeMap::from(self.statistics.metadata());
        let mut add = |key: &str, value: String| entries.insert(key.into(), value);
        add("Software", SOFTWARE.into());
        add("pid.codec", DCT16.into());
        add("pid.picture", format!("{}x{}", self.width, self.height));
        add("pid.sigma", self.sigma.to_string());
        if self.sigma > 0.0 {
            add("pid.seed", self.seed.to_string());
        }
        entries
    }

    /// Writes `latent` as the tensor `latent` of a safetensors file, float32, the record in its metadata.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing is left, and what was there before stays.
    pub fn write(&self, latent: &Latent, path: &Path) -> Result<(), CheckpointError> {
        Ok(self.stage(latent, path)?.commit().map(drop)?)
    }

    /// As [`Self::write`], but the file waits for its name.
    pub(crate) fn stage(&self, latent: &Latent, path: &Path) -> Result<Pending, CheckpointError> {
        let shape = [latent.batch, latent.channels, latent.height, latent.width];
        checkpoint::stage_tensor(path, "latent", &shape, &latent.data, &self.metadata())
    }
}

/// Warnings where a latent file's metadata disagree with the sigma given for it or with the checkpoint's code. Files of
/// other programs say nothing and get none.
///
/// # Errors
/// When the statistics in either metadata are malformed.
pub fn disagreements(
    latent: &BTreeMap<String, String>,
    checkpoint: &BTreeMap<String, String>,
    sigma: &Sigma,
) -> Result<Vec<String>, InputError> {
    let mut warnings = Vec::new();
    let stated = latent.get("pid.sigma").and_then(|text| text.parse::<f32>().ok());
    if let Some(stated) = stated
        && let Some(given) = sigma.values().iter().find(|v| **v != stated)
    {
        warnings
            .push(format!("latent: its file says that it was noised to sigma {stated}, but it is decoded as {given}"));
    }
    let own = Statistics::from_metadata(latent)?;
    if latent.get("pid.codec").is_some_and(|codec| codec == DCT16) {
        match Statistics::from_metadata(checkpoint)? {
            None => warnings.push(
                "latent: encoded by dct16, which this checkpoint was not trained on (no dct16.mean in its metadata)"
                    .into(),
            ),
            Some(trained) if own.is_some_and(|own| own != trained) => warnings.push(
                "latent: normalized by other dct16 statistics than the checkpoint's; encode it with --checkpoint"
                    .into(),
            ),
            Some(_) => {}
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sigma: f32) -> LatentRecord {
        LatentRecord { width: 64, height: 32, sigma, seed: 7, statistics: Statistics::default() }
    }

    #[test]
    fn a_record_says_what_was_done() {
        let noised = record(0.4).metadata();
        let said = ["pid.codec", "pid.picture", "pid.sigma", "pid.seed"].map(|key| noised[key].as_str());
        assert_eq!(said, ["dct16", "64x32", "0.4", "7"]);
        assert!(!record(0.0).metadata().contains_key("pid.seed"));
        assert_eq!(Statistics::from_metadata(&noised), Ok(Some(Statistics::default())));
    }

    #[test]
    fn files_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.safetensors");
        let latent = Latent::new((0..32).map(|i| i as f32 / 7.0).collect(), [1, 16, 1, 2]).unwrap();
        record(0.4).write(&latent, &path).unwrap();
        let file = crate::latent::TensorFile::open(&path).unwrap();
        let tensor = file.tensor("latent", &mut Vec::new()).unwrap();
        assert_eq!((tensor.shape, tensor.data), (vec![1, 16, 1, 2], latent.data));
        assert_eq!(file.metadata(), record(0.4).metadata());
    }

    #[test]
    fn disagreements_are_named() {
        let trained: BTreeMap<_, _> = Statistics::default().metadata().into();
        let sigma = |values: &[f32]| Sigma::new(values.to_vec()).unwrap();
        let warnings = |file: &BTreeMap<_, _>, checkpoint: &BTreeMap<_, _>, sigma| {
            disagreements(file, checkpoint, &sigma).unwrap().join("\n")
        };
        let file = record(0.4).metadata();
        assert_eq!(warnings(&file, &trained, sigma(&[0.4])), "");
        assert_eq!(warnings(&BTreeMap::new(), &trained, sigma(&[0.3])), "");
        let text = warnings(&file, &trained, sigma(&[0.4, 0.25]));
        assert!(text.contains("0.4") && text.contains("0.25"), "{text}");
        assert!(warnings(&file, &BTreeMap::new(), sigma(&[0.4])).contains("not trained"));
        let mut other = Statistics::default();
        other.std[3] *= 2.0;
        assert!(warnings(&file, &other.metadata().into(), sigma(&[0.4])).contains("--checkpoint"));
        let broken = BTreeMap::from([("dct16.mean".to_owned(), "[1]".to_owned())]);
        assert!(disagreements(&file, &broken, &sigma(&[0.4])).is_err());
    }
}
