//! Vectors that depend on a step's time alone, made on the CPU and uploaded once per time.

use half::bf16;
use rayon::prelude::*;

use super::memory::Buffer;
use super::{ConstantKey, DeviceBackend, Resident};
use crate::exec::{ExecError, StepContext};
use crate::graph::op::Modulation;
use crate::graph::{Graph, WeightId};
use crate::kernels::needs::Needs;
use crate::kernels::{Constant, Tables};

impl DeviceBackend {
    /// Makes what is missing of `needs` for every step, and enters all addresses.
    pub(super) fn place_constants(
        &self,
        graph: &Graph,
        needs: &Needs,
        steps: &[StepContext<'_>],
        tables: &mut Tables,
    ) -> Result<(), ExecError> {
        // Keys hold whole weights: made once for each constant, not for each step.
        let mut wanted: Vec<(Constant, ConstantKey)> =
            needs.constants.iter().map(|c| (*c, key_of(graph, *c))).collect();
        // A fixed order, so that two decoders lay their constants out alike.
        wanted.sort_by_cached_key(|(c, _)| format!("{c:?}"));
        for (constant, key) in &wanted {
            let missing: Vec<&StepContext<'_>> = {
                let resident = self.resident();
                steps.iter().filter(|s| resident.constant(key, s).is_none()).collect()
            };
            if missing.is_empty() {
                continue;
            }
            let values = self.values(graph, *constant, &missing)?;
            let len = values.len() / missing.len();
            let buffer = Buffer::of(&self.driver, &values)?;
            let mut resident = self.resident();
            let places = resident.constants.entry(key.clone()).or_default();
            for (i, step) in missing.iter().enumerate() {
                places.insert(step.step.t.to_bits(), buffer.address() + (i * len * 4) as u64);
            }
            resident.constant_buffers.push(buffer);
        }
        let resident = self.resident();
        for step in steps {
            let address = |key| resident.constant(key, step).expect("made above, and never taken away");
            tables.constants.push(wanted.iter().map(|(c, key)| (*c, address(key))).collect());
        }
        Ok(())
    }

    /// Bytes of the constants in `needs` that are not on the device yet.
    pub(super) fn missing_constant_bytes(&self, graph: &Graph, needs: &Needs, steps: &[StepContext<'_>]) -> usize {
        let resident = self.resident();
        let bytes = |constant: &Constant| {
            let key = key_of(graph, *constant);
            let missing = |s: &&StepContext<'_>| resident.constant(&key, s).is_none();
            let elements = |s: &StepContext<'_>| match constant {
                Constant::TimeEmbedding => s.constants.t_emb.len(),
                Constant::Gate(modulation) => s.constants.modulation(*modulation)[2].len(),
                Constant::Scale(norm) => s.constants.modulation(norm.modulation)[1].len(),
                Constant::ShiftProduct(_, weight) => graph[*weight].rows,
            };
            steps.iter().filter(missing).map(|s| 4 * elements(s)).sum::<usize>()
        };
        needs.constants.iter().map(bytes).sum()
    }

    /// The constant at each of `steps`, one after the other.
    fn values(&self, graph: &Graph, constant: Constant, steps: &[&StepContext<'_>]) -> Result<Vec<f32>, ExecError> {
        let part = |step: &StepContext<'_>, m: Modulation, part: usize| step.constants.modulation(m)[part].to_vec();
        Ok(match constant {
            Constant::TimeEmbedding => steps.iter().flat_map(|s| s.constants.t_emb.clone()).collect(),
            Constant::Gate(modulation) => steps.iter().flat_map(|s| part(s, modulation, 2)).collect(),
            Constant::Scale(norm) => {
                let weight = self.store.matrix(&graph[norm.weight])?.to_vector();
                let scale = |s: &&StepContext<'_>| {
                    let scale = part(s, norm.modulation, 1);
                    weight.iter().zip(scale).map(|(w, s)| w * (1.0 + s)).collect::<Vec<f32>>()
                };
                steps.iter().flat_map(scale).collect()
            }
            Constant::ShiftProduct(modulation, weight) => {
                let shifts: Vec<Vec<f32>> = steps.iter().map(|s| part(s, modulation, 0)).collect();
                self.shift_products(graph, weight, &shifts)?
            }
        })
    }

    /// `shift W^T` for each shift, with W as the kernels have it (bf16), sums in float64.
    fn shift_products(&self, graph: &Graph, weight: WeightId, shifts: &[Vec<f32>]) -> Result<Vec<f32>, ExecError> {
        let matrix = self.store.matrix(&graph[weight])?;
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let mut by_row = vec![0.0f32; rows * shifts.len()];
        by_row.par_chunks_exact_mut(shifts.len()).enumerate().for_each_init(
            || vec![0.0f32; cols],
            |row, (r, out)| {
                matrix.widen_rows(r..r + 1, row);
                row.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32());
                for (o, shift) in out.iter_mut().zip(shifts) {
                    *o = row.iter().zip(shift).map(|(w, s)| f64::from(*w) * f64::from(*s)).sum::<f64>() as f32;
                }
            },
        );
        Ok((0..shifts.len()).flat_map(|s| by_row.iter().skip(s).step_by(shifts.len()).copied()).collect())
    }
}

impl Resident {
    /// Address of a constant at the time of `step`.
    fn constant(&self, key: &ConstantKey, step: &StepContext<'_>) -> Option<u64> {
        self.constants.get(key)?.get(&step.step.t.to_bits()).copied()
    }
}

/// Weights by recipe instead of by index.
fn key_of(graph: &Graph, constant: Constant) -> ConstantKey {
    let weight = match constant {
        Constant::Scale(norm) => Some(norm.weight),
        Constant::ShiftProduct(_, weight) => Some(weight),
        Constant::TimeEmbedding | Constant::Gate(_) => None,
    };
    let anonymous = match constant {
        Constant::Scale(norm) => Constant::Scale(crate::graph::op::NormModulate { weight: WeightId(0), ..norm }),
        Constant::ShiftProduct(modulation, _) => Constant::ShiftProduct(modulation, WeightId(0)),
        other => other,
    };
    ConstantKey { constant: anonymous, weight: weight.map(|id| graph[id].clone()) }
}
