//! The fixed list of networks and sizes, and what a case needs to run.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CheckError, guard};
use crate::backend::cpu::CpuBackend;
use crate::backend::device::{DeviceBackend, Driver};
use crate::checkpoint::{Checkpoint, DType, TensorView, synthetic};
use crate::exec::Input;
use crate::graph::GraphConstants;
use crate::kernels::Selection;
use crate::models::pid::{self, Config, NetworkOptions, Policy, ProgramError};
use crate::plan::{Iteration, Program};
use crate::progress::NoProgress;
use crate::sampler::{Sampler, Schedule};
use crate::weights::TensorSource;

/// Of weights, inputs and noise.
pub(super) const SEED: u64 = 11;

/// When a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Always,
    /// On the emulator on request: seconds there, nothing on a GPU.
    Slow,
    /// A real-size network: minutes on the emulator.
    Gpu,
}

/// One decode that is walked.
#[derive(Clone, Debug)]
pub struct Case {
    /// Part of [`super::Row::id`].
    pub name: &'static str,
    /// The network.
    pub config: Config,
    /// Samples, sizes, caption tokens.
    pub options: NetworkOptions,
    /// Steps of the sampler.
    pub steps: usize,
    /// Its kind.
    pub sampler: Sampler,
    /// Query and key norms so large that attention cannot do without a running maximum.
    pub loud: bool,
    /// Whether the whole decode is compared too.
    pub whole: bool,
    pub(super) scope: Scope,
}

impl Case {
    fn new(name: &'static str, config: Config, [width, height]: [usize; 2], text_tokens: usize) -> Self {
        let config = Config { txt_max_length: config.txt_max_length.max(text_tokens), ..config };
        let options = NetworkOptions::new(1, text_tokens, [width, height], Policy::BF16);
        let (sampler, scope) = (Sampler::Sde, Scope::Always);
        Self { name, config, options, steps: 2, sampler, loud: false, whole: false, scope }
    }

    fn batch(mut self, batch: usize) -> Self {
        self.options.batch = batch;
        self
    }

    fn ode(mut self) -> Self {
        self.sampler = Sampler::Ode;
        self
    }

    fn observed(mut self) -> Self {
        self.options.observed = true;
        self
    }

    fn whole(mut self, steps: usize) -> Self {
        (self.whole, self.steps) = (true, steps);
        self
    }

    fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Whether it runs on a GPU, or on the emulator (`all`: the slower ones too).
    pub fn runs_on(&self, gpu: bool, all: bool) -> bool {
        match self.scope {
            Scope::Always => true,
            Scope::Slow => gpu || all,
            Scope::Gpu => gpu,
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        let NetworkOptions { batch, text_tokens, width, height, .. } = self.options;
        let Config { lq_latent_channels, hidden_size, patch_size, .. } = self.config;
        let patches = (width / patch_size) * (height / patch_size);
        let when = match self.scope {
            Scope::Always => "",
            Scope::Slow => "; on the emulator with --all",
            Scope::Gpu => "; on GPUs",
        };
        format!(
            "{}, hidden {hidden_size}, {lq_latent_channels} latent channels, {batch} x {width}x{height} ({patches} patches), \
             {text_tokens} caption tokens, {} steps {}{}{}{when}",
            self.config.version(),
            self.steps,
            self.sampler,
            if self.options.observed { ", observed" } else { "" },
            if self.loud { ", large logits" } else { "" },
        )
    }
}

/// The v1 architecture (gates per channel, zeros at borders, none before the pixel blocks) in the size of the tiny one.
fn tiny_v1(channels: usize) -> Config {
    Config::v1(channels, 8, 4).small()
}

/// The tiny network on FLUX.2's latents: 128 channels, 16 pixels each, unpacked by two.
fn tiny_flux2() -> Config {
    Config { lq_latent_channels: 128, latent_spatial_down_factor: 16, lq_latent_unpatchify_factor: 2, ..Config::tiny() }
}

fn release(name: &str) -> Config {
    Config::by_name(name).expect("the case names a release")
}

/// All cases. A tile is 128 rows, a block of row kernels 8: 12, 24 and 140 patches, with 1, 5, 17 and 300 caption tokens,
/// leave something over everywhere.
pub fn cases() -> Vec<Case> {
    let v15 = Config::tiny;
    vec![
        Case::new("v1.5", v15(), [96, 64], 17).whole(4),
        Case::new("v1.5-batch", v15(), [32, 96], 1).batch(2).ode(),
        Case { loud: true, ..Case::new("v1.5-loud", v15(), [32, 96], 5) },
        Case::new("v1", tiny_v1(16), [32, 96], 17).whole(2),
        Case::new("v1-sdxl-observed", tiny_v1(4), [64, 32], 3).batch(2).observed(),
        Case::new("v1.5-flux2", tiny_flux2(), [128, 64], 24).whole(2),
        Case::new("v1-ragged", tiny_v1(16), [224, 160], 1).scope(Scope::Slow),
        Case::new("v1.5-ragged", v15(), [160, 224], 17).batch(2).scope(Scope::Slow),
        Case::new("v1.5-long", v15(), [64, 96], 300).scope(Scope::Slow),
        Case::new("flux-v1.5-512", release("flux-v1.5"), [512, 512], 300).scope(Scope::Gpu),
        Case::new("flux-v1.5-1024", release("flux-v1.5"), [1024, 1024], 300).scope(Scope::Gpu),
        Case::new("flux-2k-1024", release("flux-2k"), [1024, 1024], 300).scope(Scope::Gpu),
    ]
}

/// A case with everything that runs it.
pub(super) struct Prepared {
    pub(super) case: Case,
    pub(super) device: DeviceBackend,
    pub(super) cpu: CpuBackend,
    /// bf16, with guard bands.
    pub(super) program: guard::Guarded,
    /// The same graph in float32.
    pub(super) twin: Program,
    constants: Vec<GraphConstants>,
    pub(super) schedule: Schedule,
    latent: Vec<f32>,
    caption: Vec<f32>,
    sigma: Vec<f32>,
}

impl Prepared {
    pub(super) fn new(case: Case, driver: Arc<dyn Driver>, selection: &Selection) -> Result<Self, CheckError> {
        let config = &case.config;
        let checkpoint = Checkpoint::synthetic(config, SEED, &NoProgress);
        let source: Arc<dyn TensorSource> = match case.loud {
            true => Arc::new(Loud::new(checkpoint)),
            false => Arc::new(checkpoint),
        };
        let failed = |e: ProgramError| CheckError::Failed(e.into());
        let program = pid::program(config, &case.options, None).map_err(failed)?;
        let twin = program.float32_twin().map_err(|e| CheckError::Failed(e.into()))?;
        let schedule = Schedule::new(case.steps, case.sampler).map_err(|e| CheckError::Failed(e.into()))?;
        let times: Vec<f64> = schedule.steps().iter().map(|s| s.t).collect();
        let constants = pid::constants(config, &*source, &times).map_err(|e| CheckError::Failed(e.into()))?;
        let shape =
            |name: &str| program.graph.named(name).map(|id| program.graph[id].shape.clone()).unwrap_or_default();
        let latent = synthetic::latent(&shape("latent"), SEED);
        let caption = synthetic::caption(&shape("caption"), SEED);
        // One value for each sample, none of them special.
        let sigma = (0..case.options.batch).map(|b| 0.2 + 0.3 * b as f32).collect();
        Ok(Self {
            device: DeviceBackend::new(driver, Arc::clone(&source)).with_kernels(selection.clone()),
            cpu: CpuBackend::new(source),
            program: guard::Guarded::new(program),
            twin,
            constants,
            schedule,
            latent,
            caption,
            sigma,
            case,
        })
    }

    pub(super) fn iterations(&self) -> Vec<Iteration<'_>> {
        pid::iterations(&self.schedule, &self.constants)
    }

    pub(super) fn inputs(&self) -> [Input<'_>; 3] {
        [
            Input::floats("latent", &self.latent),
            Input::floats("caption", &self.caption),
            Input::floats("sigma", &self.sigma),
        ]
    }

    /// The program as a decode runs it.
    pub(super) fn plain(&self, precision: Policy) -> Result<Program, CheckError> {
        let options = NetworkOptions { precision, fused: precision == Policy::BF16, ..self.case.options };
        pid::program(&self.case.config, &options, None).map_err(|e| CheckError::Failed(e.into()))
    }
}

/// A checkpoint with the weights of query and key norms twice as large: their products pass the bound up to which
/// attention needs no running maximum.
#[derive(Debug)]
struct Loud {
    checkpoint: Checkpoint,
    scaled: HashMap<String, (Vec<usize>, Vec<u8>)>,
}

impl Loud {
    fn new(checkpoint: Checkpoint) -> Self {
        let is_norm = |name: &&str| name.contains("q_norm") || name.contains("k_norm");
        let scale = |name: &str| {
            let view = checkpoint.get(name)?;
            let bytes = view.to_f32().iter().flat_map(|v| (2.0 * v).to_le_bytes()).collect();
            Some((name.to_owned(), (view.shape.to_vec(), bytes)))
        };
        let scaled = checkpoint.names().filter(is_norm).filter_map(scale).collect();
        Self { checkpoint, scaled }
    }
}

impl TensorSource for Loud {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        match self.scaled.get(name) {
            Some((shape, bytes)) => Some(TensorView::plain(DType::F32, shape, bytes)),
            None => TensorSource::tensor(&self.checkpoint, name),
        }
    }
}
