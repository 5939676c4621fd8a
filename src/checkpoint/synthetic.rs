//! Synthetic checkpoints and inputs: values that are a pure function of the tensor's name, the element's index
//! and a seed, so that any program makes the same 1.4 billion numbers. The golden files were made with them.
//!
//! `key = fnv1a64(name) ^ seed * 0xD1B54A32D192ED03`; element i is splitmix64 of `key + (i + 1) * golden`, its
//! top 24 bits a uniform in [-1, 1), scaled to the standard deviation of its kind of tensor.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::write::{HeaderEntry, write_file};
use super::{Bytes, Checkpoint, CheckpointError, DType, Entry, Format};
use crate::models::TensorSpec;
use crate::models::pid::Config;
use crate::models::pid::names;
use crate::parallel;
use crate::progress::Progress;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Standard deviation of a uniform in [-1, 1) is 1 / sqrt 3.
const SQRT_3: f32 = 1.732_050_8;
/// Elements made by one task.
const TASK: usize = 1 << 16;
/// Elements held at a time when streaming to a file: 32 MiB.
const CHUNK: usize = 16 << 20;

fn key(name: &str, seed: u64) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    hash ^ seed.wrapping_mul(0xD1B5_4A32_D192_ED03)
}

/// Element `i` as a uniform in [-1, 1), exact in float32.
#[inline(always)]
fn uniform(key: u64, i: u64) -> f32 {
    let mut z = key.wrapping_add((i + 1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let u = (z >> 40) as i32 as f32 * (1.0 / 16_777_216.0);
    2.0 * u - 1.0
}

/// Round to nearest even; the values are finite.
#[inline(always)]
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// `(offset, std)` of a tensor, first match wins.
fn distribution(name: &str, shape: &[usize]) -> (f32, f32) {
    const QK_NORMS: [&str; 6] = ["q_norm", "k_norm", "q_norm_x", "k_norm_x", "q_norm_y", "k_norm_y"];
    let fan_in: usize = shape.iter().skip(1).product();
    let scaled = |gain: f64| (gain / (fan_in as f64).sqrt()) as f32;
    let last_but_weight = name.strip_suffix(".weight").and_then(|n| n.rsplit('.').next());
    if last_but_weight.is_some_and(|n| QK_NORMS.contains(&n)) {
        (1.5, 0.25)
    } else if name.ends_with("log_alpha") {
        (1.609_438, 0.1)
    } else if name.ends_with("content_proj.bias") {
        (2.0, 0.1)
    } else if name.ends_with("y_pos_embedding") {
        (0.0, 0.3)
    } else if shape.len() == 1 && name.ends_with(".weight") {
        (1.0, 0.1)
    } else if name.ends_with(".bias") {
        (0.0, 0.02)
    } else if name.contains("adaLN_modulation") {
        (0.0, scaled(if name.starts_with("pixel_blocks") { 0.7 } else { 3.0 }))
    } else {
        (0.0, scaled(1.0))
    }
}

/// Elements `range` of a weight as bf16 bits, little endian.
fn fill(spec: &TensorSpec, seed: u64, range: Range<usize>, out: &mut [u8]) {
    let key = key(&spec.name, seed);
    let (offset, std) = distribution(&spec.name, &spec.shape);
    parallel::pieces(out, 2 * TASK, &|task, out| {
        fill_task(key, range.start + task * TASK, offset, std, out);
    });
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn fill_task(key: u64, first: usize, offset: f32, std: f32, out: &mut [u8]) {
    for (i, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        // Each operation rounds by itself: no fused multiply-add.
        let value = uniform(key, (first + i) as u64) * SQRT_3 * std + offset;
        *out = to_bf16(value).to_le_bytes();
    }
}

fn elements(spec: &TensorSpec) -> usize {
    spec.shape.iter().product()
}

pub(super) fn in_memory(config: &Config, seed: u64, progress: &dyn Progress) -> Checkpoint {
    let specs = names::tensors(config);
    progress.start("synthetic weights", specs.iter().map(|s| 2 * elements(s) as u64).sum());
    let mut tensors = BTreeMap::new();
    for spec in specs {
        let mut bytes = vec![0; 2 * elements(&spec)];
        fill(&spec, seed, 0..elements(&spec), &mut bytes);
        progress.advance(bytes.len() as u64);
        let entry = Entry::plain(DType::Bf16, spec.shape, Bytes::Owned(Arc::new(bytes)));
        tensors.insert(spec.name, entry);
    }
    progress.finish();
    Checkpoint { tensors, metadata: metadata(config, seed), ..Checkpoint::empty(None, Format::Synthetic) }
}

fn metadata(config: &Config, seed: u64) -> BTreeMap<String, String> {
    [("config", config.to_json()), ("seed", seed.to_string()), ("format", "pt".into())]
        .map(|(k, v)| (k.to_owned(), v))
        .into()
}

/// Streams the synthetic checkpoint of `config` and `seed` to a safetensors file, in constant memory; returns the
/// file's size in bytes.
///
/// # Errors
/// When the file cannot be written or the progress says to stop; then nothing is left.
pub fn to_file(config: &Config, seed: u64, path: &Path, progress: &dyn Progress) -> Result<u64, CheckpointError> {
    let specs = names::tensors(config);
    let entries: Vec<HeaderEntry<'_>> = specs
        .iter()
        .map(|s| HeaderEntry { name: &s.name, dtype: DType::Bf16, shape: &s.shape, bytes: 2 * elements(s) })
        .collect();
    let mut chunk = Vec::new();
    write_file(path, &entries, &metadata(config, seed), progress, |index, file| {
        let spec = &specs[index];
        let count = elements(spec);
        for start in (0..count).step_by(CHUNK) {
            let end = (start + CHUNK).min(count);
            chunk.resize(2 * (end - start), 0);
            fill(spec, seed, start..end, &mut chunk);
            file.write_all(&chunk)?;
        }
        Ok(())
    })
}

fn input(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let key = key(name, seed);
    let count = shape.iter().product::<usize>() as u64;
    (0..count).into_par_iter().map(|i| uniform(key, i) * SQRT_3).collect()
}

fn rounded(mut values: Vec<f32>) -> Vec<f32> {
    values.iter_mut().for_each(|v| *v = bf16::from_bits(to_bf16(*v)).to_f32());
    values
}

/// A latent of unit variance, values rounded to bf16.
pub fn latent(shape: &[usize], seed: u64) -> Vec<f32> {
    rounded(input("input.latent", shape, seed))
}

/// Caption embeddings of unit variance, values rounded to bf16.
pub fn caption(shape: &[usize], seed: u64) -> Vec<f32> {
    rounded(input("input.caption", shape, seed))
}

/// Noise of draw `draw`: uniform with unit variance, standing in for normal noise.
pub fn noise(shape: &[usize], draw: usize, seed: u64) -> Vec<f32> {
    input(&format!("input.noise.{draw}"), shape, seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::NoProgress;

    fn bits(name: &str, shape: &[usize], seed: u64) -> Vec<u16> {
        let spec = TensorSpec { name: name.into(), shape: shape.to_vec() };
        let mut bytes = vec![0; 2 * elements(&spec)];
        fill(&spec, seed, 0..elements(&spec), &mut bytes);
        bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect()
    }

    /// The values written down with the definition.
    #[test]
    fn check_values() {
        let w = bits("s_embedder.proj.weight", &[192, 768], 0);
        assert_eq!((&w[..4], w[w.len() - 1]), (&[0x3c8c, 0x3cab, 0x3c26, 0xbd4d][..], 0x3d76));
        let w = bits("s_embedder.proj.weight", &[192, 768], 11);
        assert_eq!((&w[..4], w[w.len() - 1]), (&[0xbc0e, 0x3d7b, 0xbcce, 0x3cd2][..], 0xbbb5));
        let w = bits("patch_blocks.0.attn.q_norm_x.weight", &[64], 0);
        assert_eq!((&w[..4], w[63]), (&[0x3ff6, 0x3f9c, 0x3fe3, 0x3fc6][..], 0x3fa5));
        let w = bits("patch_blocks.3.adaLN_modulation_txt.0.weight", &[1152, 192], 0);
        assert_eq!((&w[..4], w[w.len() - 1]), (&[0xbcd7, 0x3e85, 0x3ebe, 0xbd65][..], 0x3c7d));
        assert_eq!(bits("lq_proj.gate_modules.1.log_alpha", &[], 0), [0x3fc2]);
        assert_eq!(key("s_embedder.proj.weight", 0), 0x5b44_bb30_2a4f_afa6);
        assert_eq!(latent(&[3], 0), [0.453125, -0.46484375, -0.4375]);
        assert_eq!(noise(&[3], 0, 0), [1.181_953_3, 1.339_047_7, -0.851_133_05]);
    }

    #[test]
    fn golden_inputs_are_reproduced() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny_v1_flux.safetensors");
        let golden = Checkpoint::open(path.as_ref()).unwrap();
        let stored = |name: &str| golden.get(name).unwrap();
        assert_eq!(latent(stored("latent").shape, 0), stored("latent").to_f32());
        assert_eq!(caption(stored("caption").shape, 0), stored("caption").to_f32());
        for k in 0..4 {
            let name = format!("noise.{k}");
            assert_eq!(noise(stored(&name).shape, k, 0), stored(&name).to_f32());
        }
    }

    #[test]
    fn a_file_and_memory_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        to_file(&Config::tiny(), 5, &path, &NoProgress).unwrap();
        let (file, memory) = (Checkpoint::open(&path).unwrap(), Checkpoint::synthetic(&Config::tiny(), 5, &NoProgress));
        assert_eq!(file.fingerprint(), memory.fingerprint());
        assert_eq!(file.metadata(), memory.metadata());
        file.check(&Config::tiny()).unwrap();
        assert_eq!(file.detect_config().unwrap(), Config::tiny());
    }
}
