//! Rotary embedding of queries and keys.

use crate::backend::angles;
use crate::graph::op::{Rotary, Tokens};

/// Cosine and sine per position and pair: `[positions, head_dim / 2]` each.
pub(super) struct RotaryTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RotaryTable {
    /// Angles of the positions that `rotary` covers: T text positions or `Hs * Ws` patches in raster order.
    pub(super) fn new(rotary: Rotary, tokens: Tokens, head_dim: usize) -> Self {
        let half = head_dim / 2;
        let mut table = Self { half, cos: Vec::new(), sin: Vec::new() };
        match rotary {
            Rotary::Text => angles::text(tokens.text, head_dim).into_iter().for_each(|a| table.push(a)),
            Rotary::Image { reference_rows, reference_cols } => {
                let x = angles::axis(tokens.grid_cols, reference_cols, head_dim);
                let y = angles::axis(tokens.grid_rows, reference_rows, head_dim);
                for i in 0..tokens.grid_rows {
                    for j in 0..tokens.grid_cols {
                        for k in 0..head_dim / 4 {
                            table.push(x[j * (head_dim / 4) + k]);
                            table.push(y[i * (head_dim / 4) + k]);
                        }
                    }
                }
            }
        }
        table
    }

    fn push(&mut self, angle: f64) {
        self.cos.push(angle.cos() as f32);
        self.sin.push(angle.sin() as f32);
    }

    /// Rotates the pairs `(2m, 2m + 1)` of one head at `position`.
    pub(super) fn rotate(&self, head: &mut [f32], position: usize) {
        let range = position * self.half..(position + 1) * self.half;
        let angles = self.cos[range.clone()].iter().zip(&self.sin[range]);
        for ([a, b], (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
}
