//! A program in which every tensor has a place of its own, with a band of known bits before and behind it.

use crate::exec::{ExecError, Session};
use crate::graph::{ElementType, Role, TensorId};
use crate::plan::Program;

/// Elements of a band: a row of most tensors, so that one row too many lands in it.
const BAND: usize = 4096;
const ALIGNMENT: usize = 256;

/// Signalling NaNs, each another one: arithmetic on a band quiets them, a copy from elsewhere brings others.
fn marks(band: TensorId) -> impl Iterator<Item = u32> {
    const PAYLOADS: usize = (1 << 22) - 1;
    (0..BAND).map(move |i| 0x7f80_0001 + ((band.index() * BAND + i) % PAYLOADS) as u32)
}

fn mark(session: &mut dyn Session, band: TensorId) -> Result<(), ExecError> {
    session.write(band, &marks(band).map(f32::from_bits).collect::<Vec<f32>>())
}

/// See the module's description. Tensors keep their indices; the bands are tensors behind them.
pub(super) struct Guarded {
    pub(super) program: Program,
    /// By tensor: the bands around it; `None` for tensors that nobody uses.
    bands: Vec<Option<[TensorId; 2]>>,
}

impl Guarded {
    /// `program`, laid out anew.
    pub(super) fn new(mut program: Program) -> Self {
        let mut bands = vec![None; program.graph.tensors.len()];
        let (mut end, mut last) = (0, None);
        for (tensor, bands) in bands.iter_mut().enumerate() {
            if program.plan.offsets[tensor].is_none() {
                continue;
            }
            let before = *last.get_or_insert_with(|| push_band(&mut program, &mut end));
            end = end.next_multiple_of(ALIGNMENT);
            program.plan.offsets[tensor] = Some(end);
            // The band begins right behind the last element.
            end += program.plan.allocated_bytes[tensor].next_multiple_of(4);
            let behind = push_band(&mut program, &mut end);
            *bands = Some([before, behind]);
            last = Some(behind);
        }
        program.plan.peak_bytes = program.plan.peak_bytes - program.plan.arena_bytes + end;
        program.plan.arena_bytes = end;
        Self { program, bands }
    }

    /// Marks every band.
    pub(super) fn mark(&self, session: &mut dyn Session) -> Result<(), ExecError> {
        self.bands.iter().flatten().flatten().try_for_each(|band| mark(session, *band))
    }

    /// What was written beside `tensor`, if anything was; marks it again.
    pub(super) fn damage(&self, session: &mut dyn Session, tensor: TensorId) -> Result<Option<String>, ExecError> {
        for (band, side) in self.bands[tensor.index()].into_iter().flatten().zip(["before", "behind"]) {
            let values = session.read(band)?;
            let damaged = values.iter().zip(marks(band)).filter(|(v, mark)| v.to_bits() != *mark).count();
            if damaged > 0 {
                mark(session, band)?;
                let name = &self.program.graph[tensor].name;
                return Ok(Some(format!("wrote {} bytes or more {side} {name}", 4 * damaged)));
            }
        }
        Ok(None)
    }
}

/// A tensor at `end`, and `end` behind it.
fn push_band(program: &mut Program, end: &mut usize) -> TensorId {
    let Program { graph, plan, .. } = program;
    plan.offsets.push(Some(*end));
    plan.allocated_bytes.push(4 * BAND);
    plan.live.push(Some(0..plan.launches.len()));
    plan.chunked.push(false);
    *end += 4 * BAND;
    graph.tensor("band", &[BAND], ElementType::F32, Role::Temporary)
}
