//! What the network computes from the time alone: the time embedding and every patch block's modulation.
//! With a fixed schedule these are constants; 397 M parameters are read once and never again.

use rayon::prelude::*;

use super::config::Config;
use crate::graph::op::{Modulation, ModulationHalf, Stream};
use crate::weights::TensorView;
use crate::weights::{PrepareError, TensorSource};

/// Constants of the network at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeConstants {
    /// Time embedding, `[D]`.
    pub t_emb: Vec<f32>,
    /// `[block][image, text][shift_a, scale_a, gate_a, shift_m, scale_m, gate_m][D]`.
    pub modulation: Vec<f32>,
}

impl TimeConstants {
    /// Constants at every one of `times`, each weight read once.
    ///
    /// # Errors
    /// When the source lacks a tensor or holds it in another size.
    pub fn compute(config: &Config, source: &dyn TensorSource, times: &[f64]) -> Result<Vec<Self>, PrepareError> {
        let d = config.hidden_size;
        let embedded: Vec<Vec<f32>> = times.iter().map(|t| time_features(*t)).collect();
        let mut hidden = linear(source, "t_embedder.mlp.0", &embedded, d)?;
        hidden.iter_mut().flatten().for_each(|x| *x = silu(*x));
        let t_emb = linear(source, "t_embedder.mlp.2", &hidden, d)?;
        let mut condition = t_emb.clone();
        condition.iter_mut().flatten().for_each(|x| *x = silu(*x));
        let mut constants: Vec<Self> = t_emb.into_iter().map(|t_emb| Self { t_emb, modulation: Vec::new() }).collect();
        for block in 0..config.patch_depth {
            for modality in ["img", "txt"] {
                let name = format!("patch_blocks.{block}.adaLN_modulation_{modality}.0");
                let parts = linear(source, &name, &condition, 6 * d)?;
                for (c, part) in constants.iter_mut().zip(parts) {
                    c.modulation.extend(part);
                }
            }
        }
        Ok(constants)
    }

    /// `[shift, scale, gate]` of a modulation, `[D]` each.
    pub fn modulation(&self, which: Modulation) -> [&[f32]; 3] {
        let d = self.t_emb.len();
        let stream = if which.stream == Stream::Image { 0 } else { 1 };
        let half = if which.half == ModulationHalf::Attention { 0 } else { 3 };
        let start = ((which.block * 2 + stream) * 6 + half) * d;
        [0, 1, 2].map(|part| &self.modulation[start + part * d..start + (part + 1) * d])
    }
}

/// `[cos a, sin a]`, `a_k = 1000 t exp(-ln(10) k / 128)`, k = 0..127. The angles reach 1000 and are rounded to
/// float32 as in the public code: the network was trained on exactly these.
fn time_features(t: f64) -> Vec<f32> {
    let scaled = 1000.0 * t as f32;
    let frequency = |k: u16| (-std::f32::consts::LN_10 * f32::from(k) / 128.0).exp();
    let angles = (0..128).map(move |k| f64::from(scaled * frequency(k)));
    angles.clone().map(|a| a.cos() as f32).chain(angles.map(|a| a.sin() as f32)).collect()
}

fn silu(x: f32) -> f32 {
    let x = f64::from(x);
    (x / (1.0 + (-x).exp())) as f32
}

/// `W x + b` for each x, sums in float64.
fn linear(
    source: &dyn TensorSource,
    name: &str,
    inputs: &[Vec<f32>],
    outputs: usize,
) -> Result<Vec<Vec<f32>>, PrepareError> {
    let k = inputs.first().map_or(0, Vec::len);
    let weight = find(source, &format!("{name}.weight"), outputs * k)?;
    let bias = find(source, &format!("{name}.bias"), outputs)?.to_f32();
    let columns: Vec<Vec<f32>> = (0..outputs)
        .into_par_iter()
        .map_init(
            || vec![0.0; k],
            |row, o| {
                weight.widen(o * k, row);
                let dot = |x: &Vec<f32>| x.iter().zip(&*row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>();
                inputs.iter().map(|x| (dot(x) + f64::from(bias[o])) as f32).collect()
            },
        )
        .collect();
    Ok((0..inputs.len()).map(|i| columns.iter().map(|c| c[i]).collect()).collect())
}

fn find<'a>(source: &'a dyn TensorSource, name: &str, expected: usize) -> Result<TensorView<'a>, PrepareError> {
    let view = source.tensor(name).ok_or_else(|| PrepareError::Missing { name: name.into() })?;
    if view.len() == expected {
        Ok(view)
    } else {
        Err(PrepareError::Misshapen { name: name.into(), found: view.len(), expected })
    }
}
