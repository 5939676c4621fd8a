//! Weights in the layout the kernels read, made of the checkpoint on the CPU and uploaded.

use super::memory::Buffer;
use super::{DeviceBackend, WeightBuffer};
use crate::exec::ExecError;
use crate::graph::{Graph, WeightId};
use crate::kernels::needs::Needs;
use crate::kernels::{MatrixAt, Tables};
use crate::weights::{Form, Weight};

impl DeviceBackend {
    /// Uploads the weights in `needs` that are not on the device yet, and enters all addresses; tells `placed` how many
    /// bytes each took.
    pub(super) fn place_weights(
        &self,
        graph: &Graph,
        needs: &Needs,
        tables: &mut Tables,
        placed: &mut dyn FnMut(usize) -> Result<(), ExecError>,
    ) -> Result<(), ExecError> {
        let mut wanted: Vec<(WeightId, Form)> = needs.weights.iter().copied().collect();
        wanted.sort_by_key(|(id, _)| *id);
        for (id, form) in wanted {
            let key = (graph[id].clone(), form);
            let known = self.resident().weights.get(&key).map(|w| (w.buffer.address(), w.stride));
            let (address, stride) = match known {
                Some(known) => known,
                None => {
                    let made = self.upload(&graph[id], form)?;
                    let bytes = made.buffer.bytes();
                    let place = {
                        // Another decode may have been faster, and its launches read what it made.
                        let mut resident = self.resident();
                        let kept = resident.weights.entry(key).or_insert(made);
                        (kept.buffer.address(), kept.stride)
                    };
                    placed(bytes)?;
                    place
                }
            };
            match form {
                Form::Matrix(order) => {
                    tables.matrices.insert((id, order), MatrixAt { address, stride });
                }
                Form::Vector { .. } => {
                    tables.vectors.insert((id, form), address);
                }
            }
        }
        for id in &needs.scalars {
            tables.scalars.insert(*id, self.store.matrix(&graph[*id])?.to_vector()[0]);
        }
        Ok(())
    }

    fn upload(&self, weight: &Weight, form: Form) -> Result<WeightBuffer, ExecError> {
        let mut bytes = vec![0; form.bytes(weight)];
        form.pack(&self.store.matrix(weight)?, &mut bytes);
        Ok(WeightBuffer { buffer: Buffer::of(&self.driver, &bytes)?, stride: form.stride(weight) })
    }

    /// Bytes of the weights in `needs` that are not on the device yet.
    pub(super) fn missing_weight_bytes(&self, graph: &Graph, needs: &Needs) -> usize {
        let resident = self.resident();
        let missing =
            needs.weights.iter().filter(|(id, form)| !resident.weights.contains_key(&(graph[*id].clone(), *form)));
        missing.map(|(id, form)| form.bytes(&graph[*id])).sum()
    }

    /// Whether every attention's logits are so small that powers of two need no running maximum.
    pub(super) fn place_bounds(&self, graph: &Graph, needs: &Needs, tables: &mut Tables) -> Result<(), ExecError> {
        for (q, q_norms, k_norms, head_dim) in &needs.attentions {
            let mut largest = [0.0f64; 2];
            for (largest, norms) in largest.iter_mut().zip([q_norms, k_norms]) {
                for id in norms {
                    let values = self.store.matrix(&graph[*id])?.to_vector();
                    *largest = values.iter().fold(*largest, |m, v| m.max(f64::from(v.abs())));
                }
            }
            // |q . k| <= |q| |k|, and a normalised head has length at most sqrt(d) max|w|.
            let bound = (*head_dim as f64).sqrt() * std::f64::consts::LOG2_E * largest[0] * largest[1];
            tables.bounded.insert(*q, bound < LARGEST_EXPONENT);
        }
        Ok(())
    }
}

/// Powers of two up to this, summed over any sequence, stay far inside float32.
const LARGEST_EXPONENT: f64 = 100.0;
