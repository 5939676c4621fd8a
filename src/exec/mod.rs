//! Replays a plan: the once-per-decode launches, then the step loop. Decides nothing.
//!
//! A [`Program`] is a graph with its plan; a [`Session`] is a backend's memory for one decode of it. The
//! executor fills the inputs, walks the launches, tells the [`Observer`] and reads the result.

mod facts;

pub use facts::{Ceilings, Telemetry};

use std::fmt;
use std::time::Instant;

use rayon::prelude::*;

use crate::graph::{Op, Phase};
use crate::kernels::OpShape;
use crate::model::{Network, TimeConstants};
use crate::plan::{ByteSize, Launch, Plan};
use crate::sampler::{Noise, Sampler, Schedule, Step};

/// A graph and where everything goes.
#[derive(Clone, Debug)]
pub struct Program {
    /// What is computed.
    pub network: Network,
    /// How.
    pub plan: Plan,
    /// For people: number format, and what was done to meet the budget.
    pub form: String,
}

/// What one step feeds to the ops besides tensors.
pub struct StepContext<'a> {
    /// Position in the schedule.
    pub step: Step,
    /// How the sampler moves from one time to the next.
    pub sampler: Sampler,
    /// Constants of the network at this step's time.
    pub constants: &'a TimeConstants,
}

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
    fn read(&mut self, id: crate::graph::TensorId, elements: usize) -> Result<Vec<f32>, ExecError>;
    /// Fills tensor `id`.
    fn write(&mut self, id: crate::graph::TensorId, values: &[f32]) -> Result<(), ExecError>;
}

/// A backend's arena for one decode, and the launches on it.
pub trait Session {
    /// Fills tensor `id`, rounding to its element type.
    fn write(&mut self, id: crate::graph::TensorId, values: &[f32]) -> Result<(), ExecError>;
    /// Fills tensor `id` with standard normal draw `draw`.
    fn noise(&mut self, id: crate::graph::TensorId, noise: &mut Noise, draw: usize) -> Result<(), ExecError>;
    /// Runs one launch; `context` is that of the first step for launches before the loop.
    fn launch(&mut self, launch: &Launch, context: &StepContext<'_>) -> Result<(), ExecError>;
    /// As [`Session::launch`], to its end: seconds it took by the device's own clock where it has one.
    fn launch_timed(&mut self, launch: &Launch, context: &StepContext<'_>) -> Result<f64, ExecError> {
        let begin = Instant::now();
        self.launch(launch, context)?;
        Ok(begin.elapsed().as_secs_f64())
    }
    /// As [`Session::noise`], to its end: seconds as [`Session::launch_timed`] counts them.
    fn noise_timed(&mut self, id: crate::graph::TensorId, noise: &mut Noise, draw: usize) -> Result<f64, ExecError> {
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
    fn kernels(&self, launch: &Launch, context: &StepContext<'_>) -> Result<Vec<&'static str>, ExecError> {
        let _ = (launch, context);
        Ok(Vec::new())
    }
    /// Calls `visit` with each call of `launch` that several kernels can do; nothing on a device without a choice. What is
    /// run writes what the launch does: tensors that it updates are updated again each time.
    fn alternatives(
        &mut self,
        launch: &Launch,
        context: &StepContext<'_>,
        visit: &mut VisitAlternatives<'_>,
    ) -> Result<(), ExecError> {
        let _ = (launch, context, visit);
        Ok(())
    }
    /// Tensor `id` as float32.
    fn read(&mut self, id: crate::graph::TensorId) -> Result<Vec<f32>, ExecError>;
}

/// A device that can run programs.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Takes the arena for one decode of these steps, and makes ready what its launches read.
    fn session<'a>(
        &'a self,
        program: &'a Program,
        steps: &'a [StepContext<'a>],
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
    #[cfg(any(feature = "cuda", feature = "emulator"))]
    #[error(transparent)]
    Device(#[from] crate::backend::device::DeviceError),
    #[error("noise: {0}")]
    Noise(#[from] crate::sampler::NoiseError),
    #[error(transparent)]
    Weights(#[from] crate::weights::PrepareError),
    #[error("stopped on request after {done} of {steps} steps")]
    Cancelled { done: usize, steps: usize },
    #[error("the network produced {value} at element {index} of the picture: the checkpoint or the inputs are damaged")]
    NotFinite { value: f32, index: usize },
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
    /// Adapter, gates' feature halves, caption.
    Prepare,
    /// A step of the sampler.
    #[allow(missing_docs)]
    Step { index: usize, steps: usize },
    /// All done.
    Done,
}

/// Values of a decode's inputs, shapes as in [`Network`].
pub struct Inputs<'a> {
    /// `[B, C, h, w]`.
    pub latent: &'a [f32],
    /// `[B, T, E]`.
    pub caption: &'a [f32],
    /// `[B]`.
    pub sigma: &'a [f32],
}

/// Runs the program once; `constants[k]` belongs to step k of `schedule`. Returns the image
/// `[B, 3, H, W]` in [-1, 1].
///
/// # Errors
/// When the arena cannot be allocated, the caller's noise does not fit, the observer cancels, or the
/// result is not finite.
pub fn run(
    backend: &dyn Backend,
    program: &Program,
    inputs: &Inputs<'_>,
    schedule: &Schedule,
    constants: &[&TimeConstants],
    noise: &mut Noise,
    observer: &mut dyn Observer,
) -> Result<Vec<f32>, ExecError> {
    let network = &program.network;
    observer.phase(DecodePhase::Prepare);
    let steps = schedule.steps().into_iter().zip(constants);
    let contexts: Vec<StepContext<'_>> =
        steps.map(|(step, constants)| StepContext { step, sampler: schedule.sampler, constants }).collect();
    let mut session = backend.session(program, &contexts, observer)?;
    session.write(network.latent, inputs.latent)?;
    session.write(network.caption, inputs.caption)?;
    session.write(network.sigma, inputs.sigma)?;
    let (once, each) = program.plan.launches.split_at(program.plan.step_start);
    let mut run = Run { program, session: &mut *session, noise, observer, steps: contexts.len() };
    for (k, context) in contexts.iter().enumerate() {
        if k == 0 {
            run.launches(once, 0, context)?;
        }
        run.observer.phase(DecodePhase::Step { index: k, steps: run.steps });
        if run.observer.wants_taps() {
            run.observer.tap(Some(k), "t_embedder", &context.constants.t_emb);
        }
        run.launches(each, program.plan.step_start, context)?;
    }
    if observer.wants_device_seconds()
        && let Some(seconds) = session.finish_timed()?
    {
        observer.device_seconds(seconds);
    }
    let mut image = session.read(network.image)?;
    observer.phase(DecodePhase::Done);
    clamp_finite(&mut image)?;
    Ok(image)
}

/// Clamps to [-1, 1], on all cores; fails on the first value that is not finite.
fn clamp_finite(image: &mut [f32]) -> Result<(), ExecError> {
    const PIECE: usize = 1 << 18;
    let clamp = |(piece, values): (usize, &mut [f32])| {
        if values.iter().fold(true, |finite, v| finite & v.is_finite()) {
            values.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0));
            return None;
        }
        let at = values.iter().position(|v| !v.is_finite())?;
        Some(ExecError::NotFinite { value: values[at], index: piece * PIECE + at })
    };
    image.par_chunks_mut(PIECE).enumerate().find_map_first(clamp).map_or(Ok(()), Err)
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
    fn launches(&mut self, launches: &[Launch], first: usize, context: &StepContext<'_>) -> Result<(), ExecError> {
        for (index, launch) in launches.iter().enumerate() {
            self.launch(launch, first + index, context)?;
            self.observer.launched(index, launches.len());
            if self.observer.cancelled() {
                return Err(ExecError::Cancelled { done: context.step.index, steps: self.steps });
            }
        }
        Ok(())
    }

    fn launch(&mut self, launch: &Launch, index: usize, context: &StepContext<'_>) -> Result<(), ExecError> {
        let node = &self.program.network.graph.nodes[launch.node];
        let step = (node.phase == Phase::Step).then_some(context.step.index);
        let timed = self.observer.wants_times();
        let seconds = match &node.op {
            Op::Noise(op) => {
                let Some(draw) = noise_draw(op, node.phase, context) else { return Ok(()) };
                if timed {
                    Some(self.session.noise_timed(op.output, self.noise, draw)?)
                } else {
                    self.session.noise(op.output, self.noise, draw)?;
                    None
                }
            }
            _ if timed => Some(self.session.launch_timed(launch, context)?),
            _ => {
                self.session.launch(launch, context)?;
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
pub(crate) fn noise_draw(op: &crate::graph::op::Noise, phase: Phase, context: &StepContext<'_>) -> Option<usize> {
    match phase {
        Phase::Once => Some(op.first_draw),
        Phase::Step => {
            let read = context.sampler == Sampler::Sde && context.step.t_next > 0.0;
            read.then(|| op.first_draw + context.step.index)
        }
    }
}
