//! Angles of the rotary embedding as the kernels read them: per axis, the pairs 2k of a head in one table, the pairs
//! 2k + 1 in the other.

use super::DeviceBackend;
use super::memory::Buffer;
use crate::backend::angles;
use crate::exec::ExecError;
use crate::graph::op::Rotary;
use crate::kernels::needs::Needs;
use crate::kernels::{RotaryKey, Tables};

impl DeviceBackend {
    pub(super) fn place_rotary(&self, needs: &Needs, tables: &mut Tables) -> Result<(), ExecError> {
        for key in &needs.rotary {
            let known = self.resident().rotary.get(key).map(|(e, o)| (e.address(), o.address()));
            let addresses = match known {
                Some(addresses) => addresses,
                None => {
                    let [even, odd] = tables_of(key).map(|t| Buffer::of(&self.driver, &t));
                    let made = (even?, odd?);
                    // Another decode may have been faster, and its launches read what it made.
                    let mut resident = self.resident();
                    let (even, odd) = resident.rotary.entry(*key).or_insert(made);
                    (even.address(), odd.address())
                }
            };
            tables.rotary.insert(*key, addresses);
        }
        Ok(())
    }
}

impl DeviceBackend {
    /// Bytes of the angles in `needs` that are not on the device yet.
    pub(super) fn missing_rotary_bytes(&self, needs: &Needs) -> usize {
        let resident = self.resident();
        let missing = needs.rotary.iter().filter(|key| !resident.rotary.contains_key(key));
        // A pair of floats for each of head_dim / 4 pairs in both tables.
        missing.map(|key| 4 * 2 * (key.head_dim / 4) * positions(key)).sum()
    }
}

/// Positions of both tables.
fn positions(key: &RotaryKey) -> usize {
    match key.rotary {
        Rotary::Image { .. } => key.tokens.grid_cols + key.tokens.grid_rows,
        Rotary::Text => 2 * key.tokens.text,
    }
}

/// (cos, sin) of the even and of the odd pairs, `[positions, head_dim / 4, 2]` each.
fn tables_of(key: &RotaryKey) -> [Vec<f32>; 2] {
    let turns = |all: Vec<f64>| all.into_iter().flat_map(|a| [a.cos() as f32, a.sin() as f32]).collect();
    match key.rotary {
        Rotary::Image { reference_rows, reference_cols } => [
            turns(angles::axis(key.tokens.grid_cols, reference_cols, key.head_dim)),
            turns(angles::axis(key.tokens.grid_rows, reference_rows, key.head_dim)),
        ],
        Rotary::Text => {
            let all = angles::text(key.tokens.text, key.head_dim);
            [0, 1].map(|first| turns(all.iter().skip(first).step_by(2).copied().collect()))
        }
    }
}
