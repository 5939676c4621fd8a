//! The arena of one decode, and the operands of one launch taken from it.

use std::cell::{RefCell, UnsafeCell};
use std::ops::Range;

use crate::exec::ExecError;
use crate::graph::TensorId;
use crate::memory;
use crate::plan::{ByteSize, Program};

/// All activations of a decode: float32, at the plan's offsets.
pub(super) struct Arena<'a> {
    program: &'a Program,
    floats: UnsafeCell<Vec<f32>>,
}

impl<'a> Arena<'a> {
    /// Allocates the plan's arena, zeroed.
    pub(super) fn new(program: &'a Program) -> Result<Self, ExecError> {
        let len = program.plan.arena_bytes.div_ceil(4);
        let needed = ByteSize(program.plan.arena_bytes as u64);
        // Linux hands out more than it has and kills later: ask first.
        let available = memory::available_bytes().map_or(ByteSize(u64::MAX), ByteSize);
        let out_of_memory = ExecError::OutOfMemory { needed, available };
        let mut floats = Vec::new();
        if needed > available || floats.try_reserve_exact(len).is_err() {
            return Err(out_of_memory);
        }
        floats.resize(len, 0.0);
        Ok(Self { program, floats: UnsafeCell::new(floats) })
    }

    /// Operands of one launch; exclusive, so that no two launches overlap.
    pub(super) fn operands(&mut self) -> Operands<'_> {
        // SAFETY: `self` is borrowed exclusively, and the vector is not resized while operands live.
        let floats = unsafe { &mut *self.floats.get() };
        Operands { program: self.program, start: floats.as_mut_ptr(), len: floats.len(), taken: RefCell::default() }
    }
}

/// Hands out slices of the arena and refuses to alias a written one: the plan's promise, checked at each use.
pub(super) struct Operands<'a> {
    program: &'a Program,
    start: *mut f32,
    len: usize,
    taken: RefCell<Vec<(Range<usize>, bool)>>,
}

impl<'a> Operands<'a> {
    fn range(&self, id: TensorId) -> Range<usize> {
        let plan = &self.program.plan;
        let offset = plan.offsets[id.index()].expect("the plan places every tensor that a launch uses");
        let range = offset / 4..(offset + plan.allocated_bytes[id.index()]) / 4;
        assert!(range.end <= self.len, "the plan placed {} beyond the arena", self.program.graph[id].name);
        range
    }

    fn take(&self, id: TensorId, written: bool) -> Range<usize> {
        let range = self.range(id);
        let mut taken = self.taken.borrow_mut();
        for (other, other_written) in taken.iter() {
            let apart = range.end <= other.start || other.end <= range.start;
            assert!(
                apart || !(written || *other_written),
                "{} shares bytes with another operand of its launch",
                self.program.graph[id].name
            );
        }
        taken.push((range.clone(), written));
        range
    }

    /// Tensor `id`, which this launch only reads.
    pub(super) fn read(&self, id: TensorId) -> &'a [f32] {
        let range = self.take(id, false);
        // SAFETY: in bounds (`range`); `take` refuses to alias it with a written operand.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// Tensor `id`, which this launch writes or updates.
    #[allow(clippy::mut_from_ref)]
    pub(super) fn write(&self, id: TensorId) -> &'a mut [f32] {
        let range = self.take(id, true);
        // SAFETY: in bounds (`range`); `take` refuses to alias it with any other operand.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
