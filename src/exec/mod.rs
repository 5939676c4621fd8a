//! Replays a plan: the launches before the loop, then the loop. Decides nothing.
//!
//! A [`Program`] is a graph with its plan; a [`Session`] is a backend's memory for one run of it. The
//! executor fills the inputs, walks the launches, tells the [`Observer`] and reads the result.

mod device_error;
mod facts;

pub use device_error::DeviceError;
pub use facts::{Ceilings, Telemetry};

use std::fmt;
use std::time::Instant;

use rayon::prelude::*;

use crate::graph::{ElementType, GraphConstants, Op, Phase, TensorId};
use crate::kernels::OpShape;
use crate::plan::{ByteSize, Iteration, Launch, Program};
use crate::sampler::{Noise, Sampler, Step};

/// One call of a launch that several kernels can do.
#[derive(Clone, Copy, Debug)]
pub struct Alternatives {
    /// What is computed.
    pub shape: OpShape,
    /// The kernels.
    pub kernels: &'static [&'static str],
    /// The one that does it where nothing was measured.
    pub default: &'static str,
    /// Of the launch's rows, 0 to 1.
    pub share: f64,
}

/// Is given a call's [`Alternatives`] and what runs them.
pub type VisitAlternatives<'a> = dyn FnMut(&Alternatives, &mut dyn RunAlternative) -> Result<(), ExecError> + 'a;

/// Runs one call by any of its [`Alternatives`].
pub trait RunAlternative {
    /// Runs the call by `kernel`, to its end: seconds by the device's own clock.
    fn run(&mut self, kernel: &'static str) -> Result<f64, ExecError>;
    /// The first `elements` of tensor `id` as float32.
    fn read(&mut self, id: TensorId, elements: usize) -> Result<Vec<f32>, ExecError>;
    /// Fills tensor `id`.
    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError>;
}

/// A backend's arena for one decode, and the launches on it.
pub trait Session {
    /// Fills tensor `id`, rounding to its element type; of ids `values` are the bits.
    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError>;
    /// Fills tensor `id` with standard normal draw `draw`.
    fn noise(&mut self, id: TensorId, noise: &mut Noise, draw: usize) -> Result<(), ExecError>;
    /// Runs one launch; `iteration` is that of the first step for launches before the loop.
    fn launch(&mut self, launch: &Launch, iteration: &Iteration<'_>) -> Result<(), ExecError>;
    /// As [`Session::launch`], to its end: seconds it took by the device's own clock where it has one.
    fn launch_timed(&mut self, launch: &Launch, iteration: &Iteration<'_>) -> Result<f64, ExecError> {
        let begin = Instant::now();
        self.launch(launch, iteration)?;
        Ok(begin.elapsed().as_secs_f64())
    }
    /// As [`Session::noise`], to its end: seconds as [`Session::launch_timed`] counts them.
    fn noise_timed(&mut self, id: TensorId, noise: &mut Noise, draw: usize) -> Result<f64, ExecError> {
        let begin = Instant::now();
        self.noise(id, noise, draw)?;
        Ok(begin.elapsed().as_secs_f64())
    }
    /// Does what launches so far have left to be done, to its end: seconds by the device's own clock; `None` where
    /// launches leave nothing.
    fn finish_timed(&mut self) -> Result<Option<f64>, ExecError> {
        Ok(None)
    }
    /// Names of the kernels that `launch` runs, in order; none on a device without kernels.
    fn kernels(&self, launch: &Launch, iteration: &Iteration<'_>) -> Result<Vec<&'static str>, ExecError> {
        let _ = (launch, iteration);
        Ok(Vec::new())
    }
    /// Calls `visit` with each call of `launch` that several kernels can do; nothing on a device without a choice. What is
    /// run writes what the launch does: tensors that it updates are updated again each time.
    fn alternatives(
        &mut self,
        launch: &Launch,
        iteration: &Iteration<'_>,
        visit: &mut VisitAlternatives<'_>,
    ) -> Result<(), ExecError> {
        let _ = (launch, iteration, visit);
        Ok(())
    }
    /// Tensor `id` as float32.
    fn read(&mut self, id: TensorId) -> Result<Vec<f32>, ExecError>;
}

/// A device that can run programs.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Takes the arena for one decode of these steps, and makes ready what its launches read.
    fn session<'a>(
        &'a self,
        program: &'a Program,
        steps: &'a [Iteration<'a>],
        observer: &mut dyn Observer,
    ) -> Result<Box<dyn Session + 'a>, ExecError>;
    /// The device, for people.
    fn name(&self) -> String;
    /// Whether some kernels exist in several variants ([`Session::alternatives`]).
    fn has_choices(&self) -> bool {
        false
    }
    /// Measures what the device can do at most; `None` where times mean nothing.
    ///
    /// # Errors
    /// When the device fails or lacks the memory.
    fn ceilings(&self) -> Result<Option<Ceilings>, ExecError> {
        Ok(None)
    }
    /// Bytes of the device's own memory that are free now; `None` where that is the host's.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
    /// State of the device now, where it tells.
    fn telemetry(&self) -> Option<Telemetry> {
        None
    }
}

/// Failures while a decode runs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ExecError {
    #[error(
        "out of memory: the decode needs {needed} for activations, {available} are free; decode a smaller picture or pass a --budget"
    )]
    OutOfMemory { needed: ByteSize, available: ByteSize },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("noise: {0}")]
    Noise(#[from] crate::sampler::NoiseError),
    #[error(transparent)]
    Weights(#[from] crate::weights::PrepareError),
    #[error("stopped on request after {done} of {steps} steps")]
    Cancelled { done: usize, steps: usize },
    #[error("the network produced {value} at element {index} of the {name}: the checkpoint or the inputs are damaged")]
    NotFinite { name: String, value: f32, index: usize },
    #[error("the program has no input or output called {name}")]
    Unnamed { name: String },
    #[error("{name}: {found}, expected {expected}")]
    Input { name: String, found: String, expected: String },
}

/// Is told what happens during a decode. Every method has an empty default.
pub trait Observer {
    /// Whether [`Observer::tap`] wants values; reading them costs time.
    fn wants_taps(&self) -> bool {
        false
    }
    /// Module `name` (as in the public code) has produced `values`; `step` is `None` before the loop.
    fn tap(&mut self, step: Option<usize>, name: &str, values: &[f32]) {
        let _ = (step, name, values);
    }
    /// Whether [`Observer::timed`] wants seconds: every launch is then waited for.
    fn wants_times(&self) -> bool {
        false
    }
    /// Launch `launch` of the plan took `seconds`; `step` is `None` before the loop.
    fn timed(&mut self, step: Option<usize>, launch: usize, seconds: f64) {
        let _ = (step, launch, seconds);
    }
    /// Whether [`Observer::device_seconds`] wants the decode's.
    fn wants_device_seconds(&self) -> bool {
        false
    }
    /// What was recorded of this decode and replayed as a whole took `seconds` by the device's own clock.
    fn device_seconds(&mut self, seconds: f64) {
        let _ = seconds;
    }
    /// `done` of `total` bytes of weights are on the device; for the first decode that needs them.
    fn uploaded(&mut self, done: usize, total: usize) {
        let _ = (done, total);
    }
    /// The work before the loop begins, or step `step` of `steps` begins.
    fn phase(&mut self, phase: DecodePhase) {
        let _ = phase;
    }
    /// Launch `index` of `count` of this phase is done.
    fn launched(&mut self, index: usize, count: usize) {
        let _ = (index, count);
    }
    /// Whether to stop; asked after each launch and each weight.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// Where a decode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodePhase {
    /// What comes before the loop.
    Prepare,
    /// A pass of the loop.
    #[allow(missing_docs)]
    Step { index: usize, steps: usize },
    /// All done.
    Done,
}

/// An input's name and values.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    name: &'a str,
    values: Values<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    Floats(&'a [f32]),
    Ids(&'a [i32]),
}

impl<'a> Input<'a> {
    /// Input `name`, whose elements are numbers.
    pub const fn floats(name: &'a str, values: &'a [f32]) -> Self {
        Self { name, values: Values::Floats(values) }
    }

    /// Input `name`, whose elements name rows of a table.
    pub const fn ids(name: &'a str, values: &'a [i32]) -> Self {
        Self { name, values: Values::Ids(values) }
    }
}

/// An output that a caller reads.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its values are clamped to.
    pub range: [f32; 2],
}

/// Runs the program once, its loop once for each of `iterations`. Returns the values of `output`.
///
/// # Errors
/// When the arena cannot be allocated, an input or output is not the program's, the caller's noise does not fit, the observer
/// cancels, or the result is not finite.
pub fn run(
    backend: &dyn Backend,
    program: &Program,
    inputs: &[Input<'_>],
    iterations: &[Iteration<'_>],
    output: Output<'_>,
    noise: &mut Noise,
    observer: &mut dyn Observer,
) -> Result<Vec<f32>, ExecError> {
    observer.phase(DecodePhase::Prepare);
    let result = named(program, output.name)?;
    let mut session = backend.session(program, iterations, observer)?;
    write_inputs(&mut *session, program, inputs)?;
    let (once, each) = program.plan.launches.split_at(program.plan.step_start);
    let none = GraphConstants::default();
    let step = Step { index: 0, t: 0.0, t_next: 0.0 };
    let before = Iteration { step, sampler: Sampler::default(), constants: &none };
    let mut run = Run { program, session: &mut *session, noise, observer, steps: iterations.len() };
    run.launches(once, 0, iterations.first().unwrap_or(&before))?;
    for (k, iteration) in iterations.iter().enumerate() {
        run.observer.phase(DecodePhase::Step { index: k, steps: run.steps });
        if run.observer.wants_taps() {
            for (constant, values) in program.graph.constants.iter().zip(&iteration.constants.values) {
                if let Some(name) = &constant.tap {
                    run.observer.tap(Some(k), name, values);
                }
            }
        }
        run.launches(each, program.plan.step_start, iteration)?;
    }
    if observer.wants_device_seconds()
        && let Some(seconds) = session.finish_timed()?
    {
        observer.device_seconds(seconds);
    }
    let mut values = session.read(result)?;
    observer.phase(DecodePhase::Done);
    clamp_finite(&mut values, output)?;
    Ok(values)
}

/// Fills inputs by name.
///
/// # Errors
/// When one is not the program's or of another size.
pub fn write_inputs(session: &mut dyn Session, program: &Program, inputs: &[Input<'_>]) -> Result<(), ExecError> {
    for Input { name, values } in inputs {
        let id = named(program, name)?;
        let tensor = &program.graph[id];
        let (found, is_ids) = match values {
            Values::Floats(values) => (values.len(), false),
            Values::Ids(values) => (values.len(), true),
        };
        if found != tensor.elements() || is_ids != (tensor.format.element == ElementType::I32) {
            let kind = if is_ids { "ids" } else { "numbers" };
            let (name, found) = ((*name).into(), format!("{found} {kind}"));
            let expected = format!("{} of {}", tensor.elements(), tensor.format.element);
            return Err(ExecError::Input { name, found, expected });
        }
        match values {
            Values::Floats(values) => session.write(id, values)?,
            // Four bytes are four bytes.
            Values::Ids(values) => session.write(id, bytemuck::cast_slice(values))?,
        }
    }
    Ok(())
}

fn named(program: &Program, name: &str) -> Result<TensorId, ExecError> {
    program.graph.named(name).ok_or_else(|| ExecError::Unnamed { name: name.into() })
}

/// Clamps to the output's range, on all cores; fails on the first value that is not finite.
fn clamp_finite(values: &mut [f32], output: Output<'_>) -> Result<(), ExecError> {
    const PIECE: usize = 1 << 18;
    let [low, high] = output.range;
    let clamp = |(piece, values): (usize, &mut [f32])| {
        if values.iter().fold(true, |finite, v| finite & v.is_finite()) {
            values.iter_mut().for_each(|v| *v = v.clamp(low, high));
            return None;
        }
        let at = values.iter().position(|v| !v.is_finite())?;
        Some(ExecError::NotFinite { name: output.name.into(), value: values[at], index: piece * PIECE + at })
    };
    values.par_chunks_mut(PIECE).enumerate().find_map_first(clamp).map_or(Ok(()), Err)
}

struct Run<'a> {
    program: &'a Program,
    session: &'a mut dyn Session,
    noise: &'a mut Noise,
    observer: &'a mut dyn Observer,
    steps: usize,
}

impl Run<'_> {
    /// Runs `launches`, the first of which is launch `first` of the plan.
    fn launches(&mut self, launches: &[Launch], first: usize, iteration: &Iteration<'_>) -> Result<(), ExecError> {
        for (index, launch) in launches.iter().enumerate() {
            self.launch(launch, first + index, iteration)?;
            self.observer.launched(index, launches.len());
            if self.observer.cancelled() {
                return Err(ExecError::Cancelled { done: iteration.step.index, steps: self.steps });
            }
        }
        Ok(())
    }

    fn launch(&mut self, launch: &Launch, index: usize, iteration: &Iteration<'_>) -> Result<(), ExecError> {
        let node = &self.program.graph.nodes[launch.node];
        let step = (node.phase == Phase::Step).then_some(iteration.step.index);
        let timed = self.observer.wants_times();
        let seconds = match &node.op {
            Op::Noise(op) => {
                let Some(draw) = noise_draw(op, node.phase, iteration) else { return Ok(()) };
                if timed {
                    Some(self.session.noise_timed(op.output, self.noise, draw)?)
                } else {
                    self.session.noise(op.output, self.noise, draw)?;
                    None
                }
            }
            _ if timed => Some(self.session.launch_timed(launch, iteration)?),
            _ => {
                self.session.launch(launch, iteration)?;
                None
            }
        };
        if let Some(seconds) = seconds {
            self.observer.timed(step, index, seconds);
        }
        // A chunked node's taps are whole only after its last range; the tapped tensors never are chunked.
        if self.observer.wants_taps() {
            for (tensor, name) in &node.taps {
                let values = self.session.read(*tensor)?;
                self.observer.tap(step, name, &values);
            }
        }
        Ok(())
    }
}

/// The draw that a noise op asks for; none where nobody reads it: fresh noise enters after every step of sde but the last.
pub(crate) fn noise_draw(op: &crate::graph::op::Noise, phase: Phase, iteration: &Iteration<'_>) -> Option<usize> {
    match phase {
        Phase::Once => Some(op.first_draw),
        Phase::Step => {
            let read = iteration.sampler == Sampler::Sde && iteration.step.t_next > 0.0;
            read.then(|| op.first_draw + iteration.step.index)
        }
    }
}
