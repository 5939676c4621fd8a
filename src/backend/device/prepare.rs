//! Weights in the layout the kernels read, made of the checkpoint on the CPU and uploaded.

use std::sync::Arc;

use super::memory::Buffer;
use super::{DeviceBackend, WeightBuffer};
use crate::exec::ExecError;
use crate::graph::op::QkvStream;
use crate::graph::{Graph, Op, WeightId};
use crate::kernels::Tables;
use crate::kernels::needs::Needs;
use crate::weights::{Form, Weight};

impl DeviceBackend {
    /// Uploads the `wanted` weights that are not on the device yet, and enters all addresses; tells `placed` how many bytes
    /// each took. What it returns keeps them there.
    pub(super) fn place_weights(
        &self,
        graph: &Graph,
        wanted: &[(WeightId, Form)],
        tables: &mut Tables,
        placed: &mut dyn FnMut(usize) -> Result<(), ExecError>,
    ) -> Result<Vec<Arc<WeightBuffer>>, ExecError> {
        let mut held = Vec::with_capacity(wanted.len());
        for &(id, form) in wanted {
            let key = (graph[id].clone(), form);
            let known = self.resident().weights.get(&key).cloned();
            let weight = match known {
                Some(known) => known,
                None => {
                    let made = Arc::new(self.upload(&graph[id], form)?);
                    let bytes = made.buffer.bytes();
                    // Another decode may have been faster, and its launches read what it made.
                    let kept = Arc::clone(self.resident().weights.entry(key).or_insert(made));
                    placed(bytes)?;
                    kept
                }
            };
            tables.place_weight(id, form, weight.buffer.address(), weight.stride);
            held.push(weight);
        }
        Ok(held)
    }

    /// Enters the values that are parameters rather than memory.
    pub(super) fn place_scalars(&self, graph: &Graph, needs: &Needs, tables: &mut Tables) -> Result<(), ExecError> {
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

    /// Bytes of the `wanted` weights that are not on the device yet.
    pub(super) fn missing_weight_bytes(&self, graph: &Graph, wanted: &[(WeightId, Form)]) -> usize {
        let resident = self.resident();
        let missing = wanted.iter().filter(|(id, form)| !resident.weights.contains_key(&(graph[*id].clone(), *form)));
        missing.map(|(id, form)| form.bytes(&graph[*id])).sum()
    }

    /// Enters the attentions whose logits are so small that powers of two need no running maximum: of queries and keys that a
    /// projection has normalised, known by its weights.
    pub(super) fn place_bounds(&self, graph: &Graph, needs: &Needs, tables: &mut Tables) -> Result<(), ExecError> {
        let projections = graph.nodes.iter().filter_map(|node| match &node.op {
            Op::QkvProject(op) if needs.attentions.contains(&op.q) => Some(op),
            _ => None,
        });
        for op in projections {
            let largest = |norm: fn(&QkvStream) -> WeightId| -> Result<f64, ExecError> {
                op.streams.iter().try_fold(0.0f64, |largest, stream| {
                    let values = self.store.matrix(&graph[norm(stream)])?.to_vector();
                    Ok(values.iter().fold(largest, |m, v| m.max(f64::from(v.abs()))))
                })
            };
            // |q . k| <= |q| |k|, and a normalised head has length at most sqrt(d) max|w|.
            let product = largest(|s| s.q_norm)? * largest(|s| s.k_norm)?;
            let bound = (op.head_dim as f64).sqrt() * std::f64::consts::LOG2_E * product;
            if bound < LARGEST_EXPONENT {
                tables.bounded.insert(op.q);
            }
        }
        Ok(())
    }
}

/// Powers of two up to this, summed over any sequence, stay far inside float32.
const LARGEST_EXPONENT: f64 = 100.0;
