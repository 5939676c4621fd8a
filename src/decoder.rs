//! The library's front door: a [`Decoder`] is built once from a checkpoint and decodes many latents, from
//! any thread.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::device::{Device, KernelOptions};
use crate::error::Error;
use crate::exec::{self, Backend, DecodePhase, Input, Observer};
use crate::graph::GraphConstants;
use crate::kernels::{KernelChoice, TuningFile};
use crate::latent::{Backbone, Caption, Latent, Sigma};
use crate::models::pid::{self, Config, NetworkOptions, Policy, Release, TrainedSizes};
use crate::output::Picture;
use crate::plan::{ByteSize, Program};
use crate::sampler::{Noise, NoiseSource, Sampler, Schedule};

/// Options of a [`Decoder`].
#[derive(Clone, Debug, Default)]
pub struct DecoderBuilder {
    config: Option<Config>,
    backbone: Option<Backbone>,
    device: Device,
    precision: Option<Policy>,
    budget: Option<ByteSize>,
    kernels: KernelOptions,
}

impl DecoderBuilder {
    /// The network's configuration, instead of what the checkpoint's metadata and shapes say.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// The generator whose latents will be decoded, where the checkpoint's shapes cannot tell (16 channels
    /// may be FLUX, SD3, Z-Image or Qwen-Image).
    pub fn backbone(mut self, backbone: Backbone) -> Self {
        self.backbone = Some(backbone);
        self
    }

    /// The device; [`Device::Auto`] by default.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// The number formats: by default float32 on the CPU and bfloat16 with float32 sums on the others, whose kernels know no
    /// others. On the CPU bfloat16 rounds whatever is written in that format.
    pub fn precision(mut self, precision: Policy) -> Self {
        self.precision = Some(precision);
        self
    }

    /// Most bytes that weights and activations may take together.
    pub fn budget(mut self, budget: ByteSize) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Which of a GPU's kernels run; those made for its architecture by default.
    pub fn kernels(mut self, choice: KernelChoice) -> Self {
        self.kernels.choice = choice;
        self
    }

    /// Where measurements of the GPU's kernels are (`pid bench --tune` makes them); none are looked for by default. A table
    /// that cannot be used is a warning of every decode.
    pub fn tuning(mut self, file: TuningFile) -> Self {
        self.kernels.tuning = file;
        self
    }

    /// Opens the checkpoint at `path` (safetensors or `.pth`).
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is not a PiD checkpoint of the wanted configuration.
    pub fn open(self, path: &Path) -> Result<Decoder, Error> {
        self.build(Checkpoint::open(path)?)
    }

    /// Uses a checkpoint already open or made in memory.
    ///
    /// # Errors
    /// As [`DecoderBuilder::open`].
    pub fn build(self, checkpoint: Checkpoint) -> Result<Decoder, Error> {
        let checkpoint = checkpoint.into_network()?;
        let config = match self.config {
            Some(config) => config,
            None => checkpoint.detect_config()?,
        };
        config.validate()?;
        checkpoint.check(&config)?;
        let backbone = self.backbone.or_else(|| Backbone::of_config(&config));
        if let Some(backbone) = backbone {
            backbone.check(&config)?;
        }
        let checkpoint = Arc::new(checkpoint);
        let opened = self.device.open(&pid::smallest(&config)?, checkpoint.clone(), &self.kernels)?;
        let precision = self.precision.unwrap_or(opened.precision);
        if opened.fused && precision != opened.precision {
            let (name, own) = (opened.backend.name(), opened.precision);
            return Err(Error::Device(format!("{precision} on {name}: its kernels compute in {own}")));
        }
        Ok(Decoder {
            sizes: trained_sizes(&config, backbone),
            config,
            backbone,
            budget: self.budget,
            backend: opened.backend,
            precision,
            fused: opened.fused,
            warning: opened.warning,
            tuning_problem: opened.tuning_problem,
            checkpoint,
            programs: Mutex::default(),
            constants: Mutex::default(),
        })
    }
}

/// Sizes a checkpoint of this configuration was trained for: the widest of the releases that share the network
/// and belong to the backbone.
fn trained_sizes(config: &Config, backbone: Option<Backbone>) -> TrainedSizes {
    let family = backbone.map(|b| if b == Backbone::ZImage { Backbone::Flux.name() } else { b.name() });
    let shares = |r: &&Release| r.config() == *config;
    let belongs = |r: &&Release| family.is_none_or(|f| r.name.split('-').next() == Some(f));
    let sizes: Vec<TrainedSizes> = Release::ALL.iter().filter(shares).filter(belongs).map(|r| r.sizes).collect();
    if sizes.contains(&TrainedSizes::TwoKToFourK) {
        TrainedSizes::TwoKToFourK
    } else {
        sizes.first().copied().unwrap_or(TrainedSizes::Any)
    }
}

/// A loaded network. `Send + Sync`: share it by reference or [`Arc`]; every call of [`Decoder::decode`] has
/// an arena of its own.
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    backbone: Option<Backbone>,
    sizes: TrainedSizes,
    budget: Option<ByteSize>,
    checkpoint: Arc<Checkpoint>,
    backend: Box<dyn Backend>,
    precision: Policy,
    fused: bool,
    /// Why the device is not the one expected; told with every decode.
    warning: Option<String>,
    /// Why a tuning table is not used; told likewise.
    tuning_problem: Option<String>,
    programs: Mutex<HashMap<NetworkOptions, Arc<Program>>>,
    /// By the bits of the time.
    constants: Mutex<HashMap<u64, Arc<GraphConstants>>>,
}

/// What to decode besides the latent.
#[derive(Clone, Debug)]
pub struct Request {
    /// Caption embeddings `[B or 1, T, E]`.
    pub caption: Caption,
    /// How noisy the latent is, one for all samples or one each.
    pub sigma: Sigma,
    /// Steps of the sampler, 1 to 4.
    pub steps: usize,
    /// How the sampler moves between steps.
    pub sampler: Sampler,
    /// Where the noise comes from.
    pub noise: NoiseSource,
}

impl Request {
    /// A clean latent, four steps, Philox noise of seed 0.
    pub fn new(caption: Caption) -> Self {
        Self {
            caption,
            sigma: Sigma::default(),
            steps: 4,
            sampler: Sampler::Sde,
            noise: NoiseSource::Philox { seed: 0 },
        }
    }
}

/// A decoded picture and how it came about.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// `[B, 3, H, W]` in [-1, 1].
    pub picture: Picture,
    /// Seconds spent.
    pub timings: Timings,
    /// Bytes the plan promised: weights, constants and arena.
    pub planned_bytes: usize,
    /// What the caller should know: untrained size, sigma out of the training range, ...
    pub warnings: Vec<String>,
}

/// Seconds by phase.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// Building graph, plan and constants (near 0 when cached).
    pub plan: f64,
    /// Adapter and caption embedding.
    pub prepare: f64,
    /// Each step.
    pub steps: Vec<f64>,
}

impl Decoder {
    /// A builder with defaults.
    pub fn builder() -> DecoderBuilder {
        DecoderBuilder::default()
    }

    /// The network's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The generator this checkpoint belongs to, when it can be told.
    pub fn backbone(&self) -> Option<Backbone> {
        self.backbone
    }

    /// The checkpoint's tensors.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The program (graph and plan) for a batch of pictures of that size; cached.
    ///
    /// # Errors
    /// When the budget does not suffice.
    pub fn program(&self, options: NetworkOptions) -> Result<Arc<Program>, Error> {
        if let Some(program) = lock(&self.programs).get(&options) {
            return Ok(Arc::clone(program));
        }
        let program = Arc::new(pid::program(&self.config, &options, self.budget)?);
        lock(&self.programs).insert(options, Arc::clone(&program));
        Ok(program)
    }

    /// Decodes without observer. See [`Decoder::decode_observed`].
    ///
    /// # Errors
    /// As [`Decoder::decode_observed`].
    pub fn decode(&self, latent: &Latent, request: &Request) -> Result<Decoded, Error> {
        self.decode_observed(latent, request, &mut exec::NoObserver)
    }

    /// Decodes `latent [B, C, h, w]` (normalized frame) to `[B, 3, h * down * sr, w * down * sr]`.
    ///
    /// # Errors
    /// When an input does not fit the network (the error names it, its shape and the expected one), the
    /// budget or the memory does not suffice, or the observer cancels.
    pub fn decode_observed(
        &self,
        latent: &Latent,
        request: &Request,
        observer: &mut dyn Observer,
    ) -> Result<Decoded, Error> {
        let known = self.checkpoint.warnings().iter().chain(&self.warning).chain(&self.tuning_problem);
        let mut warnings: Vec<String> = known.cloned().collect();
        let begin = Instant::now();
        let schedule = Schedule::new(request.steps, request.sampler)?;
        latent.check_channels(self.config.lq_latent_channels)?;
        let sigma = request.sigma.for_batch(latent.batch, &mut warnings)?;
        let caption = request.caption.for_network(&self.config, latent.batch, &mut warnings)?;
        let options = self.options(latent, caption.tokens, observer.wants_taps());
        warnings.extend(self.sizes.warning(options.width, options.height));
        let program = self.program(options)?;
        let constants = self.constants(&schedule)?;
        let iterations = pid::iterations(&schedule, &constants);
        let mut noise = Noise::new(request.noise.clone());
        let mut clock = Clock { inner: observer, timings: Timings::default(), since: Instant::now(), phase: None };
        clock.timings.plan = begin.elapsed().as_secs_f64();
        let inputs = [
            Input::floats("latent", &latent.data),
            Input::floats("caption", &caption.data),
            Input::floats("sigma", &sigma),
        ];
        let image = exec::run(&*self.backend, &program, &inputs, &iterations, pid::IMAGE, &mut noise, &mut clock)?;
        Ok(Decoded {
            picture: Picture { data: image, batch: latent.batch, height: options.height, width: options.width },
            timings: clock.timings,
            planned_bytes: program.plan.peak_bytes,
            warnings,
        })
    }

    /// The device it runs on.
    pub fn device_name(&self) -> String {
        self.backend.name()
    }

    /// Why the device is not the one expected.
    pub(crate) fn device_warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Why a tuning table is not used, though there is one.
    pub fn tuning_problem(&self) -> Option<&str> {
        self.tuning_problem.as_deref()
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Options of the graph that decodes `latent`.
    pub(crate) fn options(&self, latent: &Latent, text_tokens: usize, observed: bool) -> NetworkOptions {
        let per = self.config.pixels_per_latent();
        NetworkOptions {
            batch: latent.batch,
            text_tokens,
            width: latent.width * per,
            height: latent.height * per,
            precision: self.precision,
            fused: self.fused,
            recompute_features: false,
            observed,
        }
    }

    /// The network's constants at every time of the schedule; computed once per time.
    pub(crate) fn constants(&self, schedule: &Schedule) -> Result<Vec<Arc<GraphConstants>>, Error> {
        let times: Vec<f64> = schedule.steps().iter().map(|step| step.t).collect();
        let missing: Vec<f64> = {
            let known = lock(&self.constants);
            times.iter().copied().filter(|t| !known.contains_key(&t.to_bits())).collect()
        };
        if !missing.is_empty() {
            let made = pid::constants(&self.config, &*self.checkpoint, &missing)?;
            let mut known = lock(&self.constants);
            known.extend(missing.iter().map(|t| t.to_bits()).zip(made.into_iter().map(Arc::new)));
        }
        let known = lock(&self.constants);
        Ok(times.iter().map(|t| Arc::clone(&known[&t.to_bits()])).collect())
    }
}

/// A cache stays usable after a panic elsewhere: its entries are whole or absent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the time of each phase on the way to the caller's observer.
struct Clock<'a> {
    inner: &'a mut dyn Observer,
    timings: Timings,
    since: Instant,
    phase: Option<DecodePhase>,
}

impl Observer for Clock<'_> {
    fn wants_taps(&self) -> bool {
        self.inner.wants_taps()
    }

    fn tap(&mut self, step: Option<usize>, name: &str, values: &[f32]) {
        self.inner.tap(step, name, values);
    }

    fn wants_times(&self) -> bool {
        self.inner.wants_times()
    }

    fn timed(&mut self, step: Option<usize>, launch: usize, seconds: f64) {
        self.inner.timed(step, launch, seconds);
    }

    fn wants_device_seconds(&self) -> bool {
        self.inner.wants_device_seconds()
    }

    fn device_seconds(&mut self, seconds: f64) {
        self.inner.device_seconds(seconds);
    }

    fn phase(&mut self, phase: DecodePhase) {
        let seconds = self.since.elapsed().as_secs_f64();
        match self.phase {
            Some(DecodePhase::Prepare) => self.timings.prepare = seconds,
            Some(DecodePhase::Step { .. }) => self.timings.steps.push(seconds),
            Some(DecodePhase::Done) | None => {}
        }
        self.since = Instant::now();
        self.phase = Some(phase);
        self.inner.phase(phase);
    }

    fn uploaded(&mut self, done: usize, total: usize) {
        self.inner.uploaded(done, total);
    }

    fn launched(&mut self, index: usize, count: usize) {
        self.inner.launched(index, count);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }
}
