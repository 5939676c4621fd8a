//! Vectors that are constant within a pass of the loop, made on the CPU and uploaded once for each key of their values.

use half::bf16;
use rayon::prelude::*;

use super::memory::Buffer;
use super::{ConstantKey, DeviceBackend, Resident};
use crate::exec::ExecError;
use crate::graph::{ConstantId, Graph, WeightId};
use crate::kernels::needs::Needs;
use crate::kernels::{Constant, Tables};
use crate::plan::Iteration;

impl DeviceBackend {
    /// Makes what is missing of `needs` for every step, and enters all addresses.
    pub(super) fn place_constants(
        &self,
        graph: &Graph,
        needs: &Needs,
        steps: &[Iteration<'_>],
        tables: &mut Tables,
    ) -> Result<(), ExecError> {
        // Keys hold whole weights: made once for each constant, not for each step.
        let mut wanted: Vec<(Constant, ConstantKey)> =
            needs.constants.iter().map(|c| (*c, key_of(graph, *c))).collect();
        // A fixed order, so that two decoders lay their constants out alike.
        wanted.sort_by_cached_key(|(c, _)| format!("{c:?}"));
        for (constant, key) in &wanted {
            let missing: Vec<&Iteration<'_>> = {
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
                places.insert(step.constants.key, buffer.address() + (i * len * 4) as u64);
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
    pub(super) fn missing_constant_bytes(&self, graph: &Graph, needs: &Needs, steps: &[Iteration<'_>]) -> usize {
        let resident = self.resident();
        let bytes = |constant: &Constant| {
            let key = key_of(graph, *constant);
            let missing = |s: &&Iteration<'_>| resident.constant(&key, s).is_none();
            let elements = |s: &Iteration<'_>| match constant {
                Constant::Vector(id) => s.constant(*id).len(),
                Constant::Scale(_, scale) => s.constant(*scale).len(),
                Constant::ShiftProduct(_, weight) => graph[*weight].rows,
            };
            steps.iter().filter(missing).map(|s| 4 * elements(s)).sum::<usize>()
        };
        needs.constants.iter().map(bytes).sum()
    }

    /// The constant at each of `steps`, one after the other.
    fn values(&self, graph: &Graph, constant: Constant, steps: &[&Iteration<'_>]) -> Result<Vec<f32>, ExecError> {
        let vector = |step: &Iteration<'_>, id: ConstantId| step.constant(id).to_vec();
        Ok(match constant {
            Constant::Vector(id) => steps.iter().flat_map(|s| vector(s, id)).collect(),
            Constant::Scale(weight, scale) => {
                let weight = self.store.matrix(&graph[weight])?.to_vector();
                let scaled = |s: &&Iteration<'_>| {
                    let scale = vector(s, scale);
                    weight.iter().zip(scale).map(|(w, s)| w * (1.0 + s)).collect::<Vec<f32>>()
                };
                steps.iter().flat_map(scaled).collect()
            }
            Constant::ShiftProduct(shift, weight) => {
                let shifts: Vec<Vec<f32>> = steps.iter().map(|s| vector(s, shift)).collect();
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
    fn constant(&self, key: &ConstantKey, step: &Iteration<'_>) -> Option<u64> {
        self.constants.get(key)?.get(&step.constants.key).copied()
    }
}

/// Weights by recipe instead of by index.
fn key_of(graph: &Graph, constant: Constant) -> ConstantKey {
    let weight = match constant {
        Constant::Scale(weight, _) => Some(weight),
        Constant::ShiftProduct(_, weight) => Some(weight),
        Constant::Vector(_) => None,
    };
    let anonymous = match constant {
        Constant::Scale(_, scale) => Constant::Scale(WeightId(0), scale),
        Constant::ShiftProduct(shift, _) => Constant::ShiftProduct(shift, WeightId(0)),
        other => other,
    };
    ConstantKey { constant: anonymous, weight: weight.map(|id| graph[id].clone()) }
}
