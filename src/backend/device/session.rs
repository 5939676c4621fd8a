//! One decode on a device: the arena, addresses, and calls handed to the driver.

use std::sync::Arc;
use std::time::Instant;

use half::bf16;

use super::driver::{Command, Driver};
use super::memory::Buffer;
use super::slots::{Layout, Slots};
use super::{DeviceBackend, Resident, WeightBuffer};
use crate::exec::DeviceError;
use crate::exec::{Alternatives, ExecError, Observer, RunAlternative, Session, VisitAlternatives};
use crate::graph::{ElementType, Graph, Op, TensorId};
use crate::kernels::lower::Lowering;
use crate::kernels::needs::{Needs, needs};
use crate::kernels::params::PidNoiseParams;
use crate::kernels::{KernelCall, OpCall, Places, Selection, Tables};
use crate::plan::{ByteSize, Iteration, Launch, Program};
use crate::sampler::Noise;

/// Room for the noise's seed, aligned as tensors are.
const SEED_BYTES: usize = 256;
const NOISE_KERNEL: &str = "philox_normal";

pub(super) struct DeviceSession<'a> {
    backend: &'a DeviceBackend,
    program: &'a Program,
    tables: Tables,
    /// `None` once it is back with the backend.
    arena: Option<Buffer>,
    /// Held, because a wider decode beside this one replaces them.
    _fillers: [Arc<Buffer>; 2],
    /// Held, because a decode that streams them takes them off the device.
    _weights: Vec<Arc<WeightBuffer>>,
    slots: Slots,
    /// Not handed to the driver yet.
    pending: Vec<Command>,
}

impl<'a> DeviceSession<'a> {
    pub(super) fn new(
        backend: &'a DeviceBackend,
        program: &'a Program,
        steps: &[Iteration<'_>],
        observer: &mut dyn Observer,
    ) -> Result<Self, ExecError> {
        let graph = &program.graph;
        let needs = needs(program, &backend.selection, &*backend.driver).map_err(DeviceError::from)?;
        let mut wanted: Vec<_> = needs.weights.iter().copied().collect();
        wanted.sort_by_key(|(id, _)| *id);
        let streaming = &program.plan.streaming;
        let (layout, staying) = Layout::new(graph, streaming, wanted);
        // The noise's seed and the slots lie behind the tensors: with the arena they stay where recorded commands look for
        // them.
        let seed_at = program.plan.arena_bytes;
        let arena_bytes = seed_at + SEED_BYTES + layout.bytes();
        let kept = {
            let mut resident = backend.resident();
            layout.clear(graph, &mut resident);
            take_arena(&mut resident, arena_bytes)
        };
        let weights = backend.missing_weight_bytes(graph, &staying);
        let arena = if kept.is_some() { 0 } else { arena_bytes };
        let streamed = layout.missing_bytes(graph, &backend.resident());
        let missing = weights + backend.missing_other_bytes(graph, &needs, steps) + arena;
        check_memory(&*backend.driver, missing, program)?;

        let mut tables = Tables::default();
        let mut done = 0;
        let mut placed = |bytes: usize| {
            done += bytes;
            observer.uploaded(done, weights + streamed);
            if observer.cancelled() { Err(ExecError::Cancelled { done: 0, steps: steps.len() }) } else { Ok(()) }
        };
        if weights + streamed > 0 {
            placed(0)?;
        }
        let held = backend.place_weights(graph, &staying, &mut tables, &mut placed)?;
        backend.place_scalars(graph, &needs, &mut tables)?;
        backend.place_bounds(graph, &needs, &mut tables)?;
        backend.place_rotary(&needs, &mut tables)?;
        backend.place_constants(graph, &needs, steps, &mut tables)?;
        let fillers = backend.place_fillers(needs.widest, &mut tables)?;
        let arena = match kept {
            Some(arena) => arena,
            None => Buffer::new(&backend.driver, arena_bytes)?,
        };
        tables.seed = arena.address() + seed_at as u64;
        let start = tables.seed + SEED_BYTES as u64;
        let slots = Slots::new(backend, graph, streaming, &layout, start, &mut tables, &mut placed)?;
        tables.tensors = program.plan.offsets.iter().map(|o| o.map(|o| arena.address() + o as u64)).collect();
        let (arena, pending) = (Some(arena), Vec::new());
        Ok(Self { backend, program, tables, arena, _fillers: fillers, _weights: held, slots, pending })
    }

    fn driver(&self) -> &dyn Driver {
        &*self.backend.driver
    }

    /// Appends calls, which read the streamed weights of `group`; hands over what is pending to a driver that does not collect.
    fn submit(&mut self, label: &str, calls: Vec<KernelCall>, group: Option<usize>) -> Result<(), ExecError> {
        self.pending.extend(calls.into_iter().map(|call| Command::launch(label, call)));
        if let Some(group) = group {
            self.slots.read(group, &self.pending);
        }
        if self.driver().collects() { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), ExecError> {
        let pending = self.take_pending();
        if !pending.is_empty() {
            self.driver().run(&pending)?;
        }
        Ok(())
    }

    fn take_pending(&mut self) -> Vec<Command> {
        self.slots.handed_over();
        std::mem::take(&mut self.pending)
    }

    /// Appends the copies of streamed weights that `launch` reads; returns their group.
    fn fill_slot(&mut self, launch: &Launch) -> Option<usize> {
        let group = self.program.plan.streaming.group_of(launch.node)?;
        self.slots.fill(group, &mut self.pending);
        Some(group)
    }

    /// The call that draws the noise; `None` where the caller's was uploaded instead.
    fn noise_call(&mut self, id: TensorId, noise: &mut Noise, draw: usize) -> Result<Option<KernelCall>, ExecError> {
        let count = self.program.graph[id].elements();
        let Some(seed) = noise.philox_seed() else {
            let mut values = vec![0.0; count];
            noise.fill(draw, &mut values)?;
            self.upload(id, &values)?;
            return Ok(None);
        };
        if draw == 0 {
            self.driver().upload(self.tables.seed, bytemuck::bytes_of(&seed))?;
        }
        let params = PidNoiseParams {
            output: self.tables.tensor(id) as *mut f32,
            seed: self.tables.seed as *const u64,
            count: count as u64,
            draw: draw as u32,
            reserved: 0,
        };
        let call = self.backend.selection.launch(self.driver(), &OpCall::noise(&params)).map_err(DeviceError::from)?;
        Ok(Some(call))
    }

    fn upload(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError> {
        // What was launched before may read what lies there now.
        self.flush()?;
        let address = self.tables.tensor(id);
        match self.program.graph[id].format.element {
            ElementType::F32 | ElementType::I32 => self.driver().upload(address, bytemuck::cast_slice(values))?,
            ElementType::Bf16 => {
                let narrow: Vec<bf16> = values.iter().map(|v| bf16::from_f32(*v)).collect();
                self.driver().upload(address, bytemuck::cast_slice(&narrow))?;
            }
        }
        Ok(())
    }

    fn lower(&self, launch: &Launch, iteration: &Iteration<'_>) -> Result<Vec<KernelCall>, DeviceError> {
        self.lower_by(&self.backend.selection, launch, iteration)
    }

    /// By other kernels than the backend's: those must read the weights in the order in which they lie there.
    fn lower_by(
        &self,
        selection: &Selection,
        launch: &Launch,
        iteration: &Iteration<'_>,
    ) -> Result<Vec<KernelCall>, DeviceError> {
        let (program, places, target) = (self.program, &self.tables, self.driver());
        Ok(Lowering { program, places, iteration, target, selection }.launch(launch)?)
    }

    fn label(&self, launch: &Launch) -> &str {
        &self.program.graph.nodes[launch.node].name
    }
}

fn take_arena(resident: &mut Resident, bytes: usize) -> Option<Buffer> {
    let index = resident.arenas.iter().position(|a| a.bytes() == bytes.max(1));
    let arena = index.map(|i| resident.arenas.swap_remove(i));
    if arena.is_none() {
        // Another size: the old ones would only be in the way.
        resident.arenas.clear();
    }
    arena
}

/// Fails before anything is allocated when `missing` bytes are not there.
fn check_memory(driver: &dyn Driver, missing: usize, program: &Program) -> Result<(), ExecError> {
    let Some(free) = driver.free_bytes() else { return Ok(()) };
    if missing as u64 <= free {
        return Ok(());
    }
    let short = missing as u64 - free;
    let budget = (program.plan.peak_bytes as u64).saturating_sub(short);
    // As shown, it must still fit.
    let budget = ByteSize(budget).rounded_down();
    Err(DeviceError::OutOfMemory {
        what: "the decode".into(),
        needed: ByteSize(missing as u64),
        free: ByteSize(free),
        budget,
    }
    .into())
}

impl DeviceBackend {
    /// Bytes of constants, angles, zeros and ones that are read and not on the device yet.
    fn missing_other_bytes(&self, graph: &Graph, needs: &Needs, steps: &[Iteration<'_>]) -> usize {
        let fillers = {
            let resident = self.resident();
            let short = |slot: &&Option<Arc<Buffer>>| slot.as_ref().is_none_or(|b| b.bytes() < 4 * needs.widest);
            [&resident.zeros, &resident.ones].iter().filter(|slot| short(slot)).count() * 4 * needs.widest
        };
        self.missing_rotary_bytes(needs) + self.missing_constant_bytes(graph, needs, steps) + fillers
    }

    /// Zeros and ones.
    fn place_fillers(&self, widest: usize, tables: &mut Tables) -> Result<[Arc<Buffer>; 2], DeviceError> {
        let mut resident = self.resident();
        let fill = |slot: &mut Option<Arc<Buffer>>, value: f32| -> Result<Arc<Buffer>, DeviceError> {
            match slot {
                Some(kept) if kept.bytes() >= 4 * widest => Ok(Arc::clone(kept)),
                _ => {
                    let made = Arc::new(Buffer::of(&self.driver, &vec![value; widest])?);
                    Ok(Arc::clone(slot.insert(made)))
                }
            }
        };
        let (zeros, ones) = (fill(&mut resident.zeros, 0.0)?, fill(&mut resident.ones, 1.0)?);
        (tables.zeros, tables.ones) = (zeros.address(), ones.address());
        Ok([zeros, ones])
    }
}

impl Session for DeviceSession<'_> {
    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError> {
        self.upload(id, values)
    }

    fn noise(&mut self, id: TensorId, noise: &mut Noise, draw: usize) -> Result<(), ExecError> {
        match self.noise_call(id, noise, draw)? {
            Some(call) => self.submit("noise", vec![call], None),
            None => Ok(()),
        }
    }

    fn noise_timed(&mut self, id: TensorId, noise: &mut Noise, draw: usize) -> Result<f64, ExecError> {
        self.flush()?;
        let begin = Instant::now();
        match self.noise_call(id, noise, draw)? {
            Some(call) => Ok(self.driver().run_timed(&[Command::launch("noise", call)])?),
            None => Ok(begin.elapsed().as_secs_f64()),
        }
    }

    fn finish_timed(&mut self) -> Result<Option<f64>, ExecError> {
        let pending = self.take_pending();
        if pending.is_empty() { Ok(None) } else { Ok(Some(self.driver().replay_timed(&pending)?)) }
    }

    fn launch(&mut self, launch: &Launch, iteration: &Iteration<'_>) -> Result<(), ExecError> {
        let group = self.fill_slot(launch);
        let calls = self.lower(launch, iteration)?;
        self.submit(&self.program.graph.nodes[launch.node].name, calls, group)
    }

    fn launch_timed(&mut self, launch: &Launch, iteration: &Iteration<'_>) -> Result<f64, ExecError> {
        self.fill_slot(launch);
        self.flush()?;
        let calls = self.lower(launch, iteration)?;
        let label = self.label(launch);
        let calls: Vec<Command> = calls.into_iter().map(|call| Command::launch(label, call)).collect();
        Ok(self.driver().run_timed(&calls)?)
    }

    fn kernels(&self, launch: &Launch, iteration: &Iteration<'_>) -> Result<Vec<&'static str>, ExecError> {
        Ok(match self.program.graph.nodes[launch.node].op {
            Op::Noise(_) => vec![NOISE_KERNEL],
            _ => self.lower(launch, iteration)?.iter().map(|call| call.kernel).collect(),
        })
    }

    fn alternatives(
        &mut self,
        launch: &Launch,
        iteration: &Iteration<'_>,
        visit: &mut VisitAlternatives<'_>,
    ) -> Result<(), ExecError> {
        self.fill_slot(launch);
        self.flush()?;
        let calls = self.lower(launch, iteration)?;
        let rows: u32 = calls.iter().filter_map(|call| call.shape).map(|shape| shape.rows).sum();
        for (index, call) in calls.iter().enumerate() {
            let variants = |shape| Some((shape, self.backend.selection.variants(&shape)?));
            let Some((shape, variants)) = call.shape.and_then(variants) else { continue };
            let share = f64::from(shape.rows) / f64::from(rows.max(1));
            let (kernels, default) = (&*variants.kernels, variants.default().name);
            let alternatives = Alternatives { shape, kernels, default, share };
            visit(&alternatives, &mut CallOfLaunch { session: self, launch, iteration, index })?;
        }
        Ok(())
    }

    fn read(&mut self, id: TensorId) -> Result<Vec<f32>, ExecError> {
        let elements = self.program.graph[id].elements();
        self.read_first(id, elements)
    }
}

/// One call of a launch, to be run by other kernels.
struct CallOfLaunch<'s, 'a> {
    session: &'s mut DeviceSession<'a>,
    launch: &'s Launch,
    iteration: &'s Iteration<'s>,
    /// Among the launch's calls.
    index: usize,
}

impl RunAlternative for CallOfLaunch<'_, '_> {
    fn run(&mut self, kernel: &'static str) -> Result<f64, ExecError> {
        let Self { session, launch, iteration, index } = self;
        let forced = session.backend.selection.forcing(kernel);
        let call = session.lower_by(&forced, launch, iteration)?.swap_remove(*index);
        Ok(session.driver().run_timed(&[Command::launch(session.label(launch), call)])?)
    }

    fn read(&mut self, id: TensorId, elements: usize) -> Result<Vec<f32>, ExecError> {
        self.session.read_first(id, elements)
    }

    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError> {
        self.session.upload(id, values)
    }
}

impl DeviceSession<'_> {
    /// The first `elements` of tensor `id`, which may hold no more where it holds a range of its rows.
    fn read_first(&mut self, id: TensorId, elements: usize) -> Result<Vec<f32>, ExecError> {
        self.flush()?;
        let tensor = &self.program.graph[id];
        let address = self.tables.tensor(id);
        match tensor.format.element {
            ElementType::F32 | ElementType::I32 => {
                let mut values = vec![0.0f32; elements];
                self.driver().download(address, bytemuck::cast_slice_mut(&mut values))?;
                Ok(values)
            }
            ElementType::Bf16 => {
                let mut values = vec![bf16::ZERO; elements];
                self.driver().download(address, bytemuck::cast_slice_mut(&mut values))?;
                Ok(values.into_iter().map(bf16::to_f32).collect())
            }
        }
    }
}

impl Drop for DeviceSession<'_> {
    fn drop(&mut self) {
        // Kept for the next decode of this size, whose recorded launches then find the same addresses.
        if let Some(arena) = self.arena.take() {
            self.backend.resident().arenas.push(arena);
        }
    }
}
