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
                    let (even, odd) = (even?, odd?);
                    let addresses = (even.address(), odd.address());
                    self.resident().rotary.insert(*key, (even, odd));
                    addresses
                }
            };
            tables.rotary.insert(*key, addresses);
        }
        Ok(())
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
