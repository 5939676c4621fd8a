//! What the network computes from the time alone: the time embedding and every patch block's modulation.
//! With a fixed schedule these are constants; 397 M parameters are read once and never again.

use std::borrow::Borrow;

use rayon::prelude::*;

use super::config::Config;
use crate::graph::op::Stream;
use crate::graph::{ConstantId, Graph, GraphConstants};
use crate::plan::Iteration;
use crate::sampler::{Schedule, Step};
use crate::weights::{PrepareError, TensorSource, TensorView};

/// Which of a patch block's constants: `[D]` each, by stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    ShiftAttention,
    ScaleAttention,
    GateAttention,
    ShiftFeedForward,
    ScaleFeedForward,
    GateFeedForward,
}

/// Enters the constants of a network into its graph, in an order that depends on the config alone.
pub(super) fn declare(graph: &mut Graph, config: &Config) {
    let d = config.hidden_size;
    let time = graph.constant("time_embedding", d);
    graph.constants[time.index()].tap = Some("t_embedder".into());
    for block in 0..config.patch_depth {
        for modality in ["img", "txt"] {
            for part in ["shift_a", "scale_a", "gate_a", "shift_m", "scale_m", "gate_m"] {
                graph.constant(&format!("patch_blocks.{block}.{modality}.{part}"), d);
            }
        }
    }
}

/// The time embedding.
pub(super) const TIME_EMBEDDING: ConstantId = ConstantId(0);

/// The constant of patch block `block`, as [`declare`] has entered it.
pub(super) fn of_block(block: usize, stream: Stream, part: Part) -> ConstantId {
    let stream = if stream == Stream::Image { 0 } else { 1 };
    ConstantId((1 + (block * 2 + stream) * 6 + part as usize) as u32)
}

/// Values of a network's constants at every one of `times`, each weight read once; the key is the time's bits.
///
/// # Errors
/// When the source lacks a tensor or holds it in another size.
pub fn constants(
    config: &Config,
    source: &dyn TensorSource,
    times: &[f64],
) -> Result<Vec<GraphConstants>, PrepareError> {
    let d = config.hidden_size;
    let embedded: Vec<Vec<f32>> = times.iter().map(|t| time_features(*t)).collect();
    let mut hidden = linear(source, "t_embedder.mlp.0", &embedded, d)?;
    hidden.iter_mut().flatten().for_each(|x| *x = silu(*x));
    let t_emb = linear(source, "t_embedder.mlp.2", &hidden, d)?;
    let mut condition = t_emb.clone();
    condition.iter_mut().flatten().for_each(|x| *x = silu(*x));
    let of_time = |(t, t_emb): (&f64, Vec<f32>)| GraphConstants { key: t.to_bits(), values: vec![t_emb] };
    let mut constants: Vec<GraphConstants> = times.iter().zip(t_emb).map(of_time).collect();
    for block in 0..config.patch_depth {
        for modality in ["img", "txt"] {
            let name = format!("patch_blocks.{block}.adaLN_modulation_{modality}.0");
            let parts = linear(source, &name, &condition, 6 * d)?;
            for (c, parts) in constants.iter_mut().zip(parts) {
                c.values.extend(parts.chunks_exact(d).map(<[f32]>::to_vec));
            }
        }
    }
    Ok(constants)
}

/// What each pass of the sampler's loop is given; `constants[k]` belongs to step k.
pub fn iterations<'a>(schedule: &Schedule, constants: &'a [impl Borrow<GraphConstants>]) -> Vec<Iteration<'a>> {
    let of_step = |(step, constants): (Step, &'a _)| Iteration {
        step,
        sampler: schedule.sampler,
        constants: Borrow::borrow(constants),
    };
    schedule.steps().into_iter().zip(constants).map(of_step).collect()
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
