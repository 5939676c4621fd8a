//! Weights in the layout the kernels read, made of the checkpoint on the CPU and uploaded.

use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use super::memory::Buffer;
use super::{DeviceBackend, Driver, WeightBuffer};
use crate::backend::cpu::Matrix;
use crate::exec::ExecError;
use crate::graph::{Graph, WeightId};
use crate::kernels::needs::Needs;
use crate::kernels::order::RowOrder;
use crate::kernels::{Form, MatrixAt, Tables};

/// Rows of a matrix are padded to this many elements: 16 bytes, the widest copy.
const ROW_MULTIPLE: usize = 8;

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
                    let made = upload(&self.driver, &self.store.matrix(&graph[id])?, form)?;
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

    /// Bytes of the weights in `needs` that are not on the device yet.
    pub(super) fn missing_weight_bytes(&self, graph: &Graph, needs: &Needs) -> usize {
        let resident = self.resident();
        let missing =
            needs.weights.iter().filter(|(id, form)| !resident.weights.contains_key(&(graph[*id].clone(), *form)));
        missing
            .map(|(id, form)| match form {
                Form::Matrix(order) => {
                    order.stored_rows(graph[*id].rows) * graph[*id].cols.next_multiple_of(ROW_MULTIPLE) * 2
                }
                Form::Vector { .. } => graph[*id].elements() * 4,
            })
            .sum()
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

fn upload(driver: &Arc<dyn Driver>, matrix: &Matrix<'_>, form: Form) -> Result<WeightBuffer, ExecError> {
    match form {
        Form::Matrix(order) => {
            let stride = matrix.cols().next_multiple_of(ROW_MULTIPLE);
            let buffer = Buffer::of(driver, &narrow(matrix, stride, order))?;
            Ok(WeightBuffer { buffer, stride })
        }
        Form::Vector { factor_bits } => {
            let factor = f32::from_bits(factor_bits);
            let values: Vec<f32> = matrix.to_vector().into_iter().map(|v| v * factor).collect();
            Ok(WeightBuffer { buffer: Buffer::of(driver, &values)?, stride: matrix.cols() })
        }
    }
}

/// Rows in bf16 and in `order`, `stride` apart, zeros between and in place of rows that there are not.
fn narrow(matrix: &Matrix<'_>, stride: usize, order: RowOrder) -> Vec<bf16> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let mut out = vec![bf16::ZERO; order.stored_rows(rows) * stride];
    out.par_chunks_exact_mut(stride).enumerate().for_each_init(
        || vec![0.0f32; cols],
        |row, (stored, out)| {
            let r = order.column(stored);
            if r >= rows {
                return;
            }
            matrix.widen_rows(r..r + 1, row);
            for (o, x) in out.iter_mut().zip(row.iter()) {
                *o = bf16::from_f32(*x);
            }
        },
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::WeightStore;
    use crate::checkpoint::Checkpoint;
    use crate::graph::{Recipe, Weight};
    use crate::model::Config;
    use crate::progress::NoProgress;

    /// Row after row as the order says, whole blocks, zeros in place of rows that there are not.
    #[test]
    fn rows_are_stored_in_order() {
        let config = Config::tiny();
        let store = WeightStore::new(Arc::new(Checkpoint::synthetic(&config, 3, &NoProgress)));
        let name = "pixel_blocks.0.compress_to_attn.weight";
        let (rows, cols) = (config.pixel_attn_hidden_size, config.pixel_row());
        let weight = Weight { rows, cols, recipe: Recipe::Stored(name.into()) };
        let matrix = store.matrix(&weight).unwrap();
        let plain = narrow(&matrix, cols, RowOrder::Plain);
        assert_eq!(plain.len(), rows * cols);
        let order = RowOrder::Consecutive16 { head: 64 };
        let stored = narrow(&matrix, cols, order);
        assert_eq!(stored.len(), 192 * cols, "144 rows are two blocks and a part");
        for (i, row) in stored.chunks_exact(cols).enumerate() {
            match plain.chunks_exact(cols).nth(order.column(i)) {
                Some(expected) => assert!(row == expected, "row {i}"),
                None => assert!(row.iter().all(|x| *x == bf16::ZERO), "row {i}"),
            }
        }
    }
}
