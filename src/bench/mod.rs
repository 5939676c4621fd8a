//! Latency of a decode, end to end and launch by launch, against what the device can do.
//!
//! [`run`] decodes several times and once more with every launch timed by itself; [`counts`] needs no device: it says
//! what there is to do. Both make a [`Bench`], which shows itself as text, JSON (by serde) and a page.

mod agree;
mod charts;
mod page;
mod recorder;
mod rows;
mod summary;
mod text;
mod tune;

pub use agree::Distance;
pub use rows::{LaunchRow, OpRow, Rates};
pub use summary::Summary;
pub use tune::{Trial, Tuned, table, tune, wrong};

use std::time::Instant;

use serde::Serialize;

use crate::checkpoint::synthetic;
use crate::decoder::{Decoded, Decoder, Request};
use crate::error::Error;
use crate::exec::{Ceilings, Observer, Telemetry};
use crate::graph::Work;
use crate::latent::{Caption, Latent};
use crate::memory;
use crate::models::pid::{self, Config, NetworkOptions, Policy};
use crate::plan::ByteSize;
use crate::plan::Program;
use crate::sampler::{NoiseSource, Sampler, Schedule};
use recorder::{Mode, Phases, Recorder};

/// Commit of this build, `unknown` outside a checkout.
pub const COMMIT: &str = env!("PID_COMMIT");

/// What to decode, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct BenchOptions {
    pub width: usize,
    pub height: usize,
    pub batch: usize,
    pub text_tokens: usize,
    pub steps: usize,
    /// Of latent, caption and noise.
    pub seed: u64,
    /// Decodes after the first and before the timed ones.
    pub warm_up: usize,
    /// Decodes timed, at least 1.
    pub runs: usize,
}

impl BenchOptions {
    /// The graph's.
    pub fn network(&self, precision: Policy) -> NetworkOptions {
        NetworkOptions::new(self.batch, self.text_tokens, [self.width, self.height], precision)
    }
}

/// Seconds by phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seconds {
    /// Reading (or making) the checkpoint and opening the device.
    pub load: f64,
    /// Graph, plan and constants of the steps; for the first decode.
    pub plan: f64,
    /// Weights to the device; for the first decode. `None` where they stay where they are.
    pub upload: Option<f64>,
    /// The first decode, plan and upload included.
    pub first: f64,
    /// Adapter and caption.
    pub prepare: Summary,
    /// Each step.
    pub steps: Vec<Summary>,
    /// From the last launch to the picture in memory.
    pub image: Summary,
    /// A whole decode, by the host's clock.
    pub decode: Summary,
    /// The same by the device's clock, where the decode is replayed as one.
    pub device: Option<Summary>,
    /// All launches of the profiled decode.
    pub profiled: f64,
}

/// State of the device around the timed runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Around {
    pub before: Telemetry,
    pub after: Telemetry,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// For people.
    pub device: String,
    /// Version of this crate.
    pub version: &'static str,
    /// See [`COMMIT`].
    pub commit: &'static str,
    /// The network's name, if it has one.
    pub config: Option<&'static str>,
    /// Number format, and what was done to meet a budget.
    pub form: String,
    #[allow(missing_docs)]
    pub width: usize,
    #[allow(missing_docs)]
    pub height: usize,
    #[allow(missing_docs)]
    pub batch: usize,
    #[allow(missing_docs)]
    pub text_tokens: usize,
    /// Of latent, caption and noise; of the weights too when they are synthetic.
    pub seed: u64,
    /// Steps of the sampler.
    pub num_steps: usize,
    /// Weights, constants and arena as planned.
    pub planned_bytes: u64,
    /// As measured: the device's free memory before less that after the first decode, or, on the CPU, the most that the
    /// process had resident by then.
    pub peak_bytes: Option<u64>,
    /// `None` where times mean nothing.
    pub seconds: Option<Seconds>,
    /// What the device does at most, measured in this run.
    pub ceilings: Option<Ceilings>,
    /// The least that the ceilings allow for all launches.
    pub floor_seconds: Option<f64>,
    /// Of a decode.
    pub work: Work,
    /// By kind.
    pub ops: Vec<OpRow>,
    /// In the plan's order.
    pub launches: Vec<LaunchRow>,
    /// `None` where the device tells nothing.
    pub telemetry: Option<Around>,
    /// How to read the numbers.
    pub notes: Vec<String>,
    /// Why not to trust them.
    pub warnings: Vec<String>,
    /// The plan as a picture.
    #[serde(skip)]
    pub(crate) memory_svg: String,
}

/// Of the timed decodes and the profiled one.
struct Measured {
    seconds: Seconds,
    peak_bytes: Option<u64>,
    ceilings: Option<Ceilings>,
    launches: Vec<Vec<f64>>,
    telemetry: Option<Around>,
    warnings: Vec<String>,
    replayed: bool,
}

/// Decodes and measures. `load` is what building the decoder took.
///
/// # Errors
/// When a decode fails or the observer cancels it.
pub fn run(decoder: &Decoder, options: &BenchOptions, load: f64, observer: &mut dyn Observer) -> Result<Bench, Error> {
    let case = Case::new(decoder, options)?;
    let measured = case.measure(load, observer)?;
    let mut bench = assemble(decoder.config(), &case.program, options, Some(&measured));
    bench.device = decoder.device_name();
    bench.peak_bytes = measured.peak_bytes;
    bench.notes = notes(measured.replayed);
    bench.warnings = measured.warnings;
    bench.telemetry = measured.telemetry;
    bench.seconds = Some(measured.seconds);
    bench.ceilings = measured.ceilings;
    bench.warnings.extend(rows::doubt(&bench.ops));
    bench.name_kernels(tune::kernels(&case, observer)?);
    Ok(bench)
}

/// As [`counts`], with the names of the kernels that the decoder's device would run.
///
/// # Errors
/// As [`counts`], and when the device fails.
pub fn counts_on(decoder: &Decoder, options: &BenchOptions, observer: &mut dyn Observer) -> Result<Bench, Error> {
    let case = Case::new(decoder, options)?;
    let mut bench = assemble(decoder.config(), &case.program, options, None);
    bench.device = decoder.device_name();
    bench.notes = vec![COUNTED.into()];
    bench.name_kernels(tune::kernels(&case, observer)?);
    Ok(bench)
}

impl Bench {
    /// Enters the kernels of each launch; on a device without kernels there are none to name.
    fn name_kernels(&mut self, names: Vec<Vec<&'static str>>) {
        for (row, names) in self.launches.iter_mut().zip(names) {
            row.kernels = (!names.is_empty()).then_some(names);
        }
    }
}

const COUNTED: &str = "counts only: times on the emulator say nothing about a GPU, so nothing was run";

/// What there is to do, without doing it: on the kernels' network, bf16.
///
/// # Errors
/// When the sizes do not fit the network, or the budget does not suffice.
pub fn counts(config: &Config, options: &BenchOptions, budget: Option<ByteSize>) -> Result<Bench, Error> {
    Schedule::new(options.steps, Sampler::Sde)?;
    let program = pid::program(config, &options.network(Policy::BF16), budget)?;
    let mut bench = assemble(config, &program, options, None);
    bench.device = "emulator".into();
    bench.notes = vec![COUNTED.into()];
    Ok(bench)
}

fn assemble(config: &Config, program: &Program, options: &BenchOptions, measured: Option<&Measured>) -> Bench {
    let ceilings = measured.and_then(|m| m.ceilings.as_ref());
    let launches = rows::launches(program, options.steps, measured.map(|m| &*m.launches), ceilings);
    let mut work = Work::default();
    launches.iter().for_each(|l| work += l.work.times(l.launches));
    let ops = rows::ops(&launches);
    Bench {
        device: String::new(),
        version: env!("CARGO_PKG_VERSION"),
        commit: COMMIT,
        config: config.name(),
        form: program.form.clone(),
        width: options.width,
        height: options.height,
        batch: options.batch,
        text_tokens: options.text_tokens,
        seed: options.seed,
        num_steps: options.steps,
        planned_bytes: program.plan.peak_bytes as u64,
        peak_bytes: None,
        seconds: None,
        ceilings: None,
        floor_seconds: ceilings.map(|_| ops.iter().filter_map(|o| o.rates.floor_seconds).sum()),
        work,
        ops,
        launches,
        telemetry: None,
        notes: Vec::new(),
        warnings: Vec::new(),
        memory_svg: program.plan.to_svg(&program.graph),
    }
}

fn notes(replayed: bool) -> Vec<String> {
    let mut notes = vec![
        "floor: the largest of FLOP / product ceiling, bytes / copy ceiling and, where known, exp / exp ceiling".into(),
        "launch times are from one more decode, in which each launch is waited for".into(),
    ];
    if replayed {
        notes.push(
            "a decode is one replay of a recorded graph: its device time is from events around it; prepare and steps are \
             sums of the profiled launches, whose events also hold the start of a kernel (a few microseconds)"
                .into(),
        );
    }
    notes
}

/// One decode to be repeated.
struct Case<'a> {
    decoder: &'a Decoder,
    options: &'a BenchOptions,
    latent: Latent,
    request: Request,
    program: std::sync::Arc<Program>,
}

/// A decode's times.
struct Timed {
    decoded: Decoded,
    whole: f64,
    phases: Phases,
    device: Option<f64>,
    launches: Vec<Vec<f64>>,
}

impl<'a> Case<'a> {
    fn new(decoder: &'a Decoder, options: &'a BenchOptions) -> Result<Self, Error> {
        let config = decoder.config();
        let per = config.pixels_per_latent();
        options.network(Policy::F32).check(config)?;
        let shape = [options.batch, config.lq_latent_channels, options.height / per, options.width / per];
        let latent = Latent::new(synthetic::latent(&shape, options.seed), shape)?;
        let shape = [options.batch, options.text_tokens, config.txt_embed_dim];
        let caption = Caption::new(synthetic::caption(&shape, options.seed), shape)?;
        let noise = NoiseSource::Philox { seed: options.seed };
        let request = Request { steps: options.steps, noise, ..Request::new(caption) };
        let program = decoder.program(decoder.options(&latent, options.text_tokens, false))?;
        Ok(Self { decoder, options, latent, request, program })
    }

    fn decode(&self, mode: Mode, observer: &mut dyn Observer) -> Result<Timed, Error> {
        let mut recorder = Recorder::new(observer, mode, self.program.plan.launches.len());
        let begin = Instant::now();
        let decoded = self.decoder.decode_observed(&self.latent, &self.request, &mut recorder)?;
        let end = Instant::now();
        let (phases, device) = (recorder.phases(end), recorder.device_seconds());
        let whole = (end - begin).as_secs_f64();
        Ok(Timed { decoded, whole, phases, device, launches: recorder.into_launches() })
    }

    fn measure(&self, load: f64, observer: &mut dyn Observer) -> Result<Measured, Error> {
        let backend = self.decoder.backend();
        let before = backend.telemetry();
        let free = backend.free_bytes();
        let first = self.decode(Mode::Whole, observer)?;
        let peak_bytes = match free {
            Some(free) => backend.free_bytes().map(|now| free.saturating_sub(now)),
            None => memory::peak_resident_bytes(),
        };
        let ceilings = backend.ceilings()?;
        for _ in 0..self.options.warm_up {
            self.decode(Mode::Whole, observer)?;
        }
        let runs = (0..self.options.runs).map(|_| self.decode(Mode::Whole, observer)).collect::<Result<Vec<_>, _>>()?;
        let telemetry = before.zip(backend.telemetry()).map(|(before, after)| Around { before, after });
        let profile = self.decode(Mode::Launches, observer)?;
        // Measured again, as something else may have been at work the first time.
        let ceilings = ceilings.zip(backend.ceilings()?).map(|(a, b)| a.best(b));
        let replayed = runs.iter().all(|r| r.device.is_some());
        let seconds = self.seconds(load, &first, &runs, &profile);
        // Those of a decode are about its picture.
        let mut warnings = self.decoder.checkpoint().warnings().to_vec();
        warnings.extend(self.decoder.device_warning().map(str::to_owned));
        warnings.extend(doubts(&seconds, telemetry.as_ref()));
        Ok(Measured { seconds, peak_bytes, ceilings, launches: profile.launches, telemetry, warnings, replayed })
    }

    fn seconds(&self, load: f64, first: &Timed, runs: &[Timed], profile: &Timed) -> Seconds {
        let profiled = self.profiled_phases(profile);
        // What is replayed as one has no phases of its own.
        let phases: Vec<&Phases> = match runs.iter().all(|r| r.device.is_some()) {
            true => vec![&profiled],
            false => runs.iter().map(|r| &r.phases).collect(),
        };
        let of = |runs: Vec<f64>| Summary::of(runs).expect("at least one run");
        let device: Vec<f64> = runs.iter().filter_map(|r| r.device).collect();
        Seconds {
            load,
            plan: first.decoded.timings.plan,
            upload: first.phases.upload,
            first: first.whole,
            prepare: of(phases.iter().map(|p| p.prepare).collect()),
            steps: (0..self.options.steps).map(|k| of(phases.iter().map(|p| p.steps[k]).collect())).collect(),
            image: of(phases.iter().map(|p| p.image).collect()),
            decode: of(runs.iter().map(|r| r.whole).collect()),
            device: Summary::of(device),
            profiled: profile.launches.iter().flatten().sum(),
        }
    }

    /// Sums of the profiled launches.
    fn profiled_phases(&self, profile: &Timed) -> Phases {
        let (once, each) = profile.launches.split_at(self.program.plan.step_start);
        let step = |k: usize| each.iter().filter_map(|runs| runs.get(k)).sum();
        Phases {
            upload: None,
            prepare: once.iter().flatten().sum(),
            steps: (0..self.options.steps).map(step).collect(),
            image: profile.phases.image,
        }
    }
}

/// A first run slower than the median by more than this says that warming up was too short.
const SLOW_FIRST: f64 = 1.2;
/// Share of runs that may be outliers.
const MOST_OUTLIERS: f64 = 0.01;
/// Per cent of use by others that disturbs.
const BUSY: u32 = 5;

/// Why the numbers may be off.
fn doubts(seconds: &Seconds, telemetry: Option<&Around>) -> Vec<String> {
    let mut doubts = Vec::new();
    let decode = &seconds.decode;
    let first = decode.runs[0];
    if first > SLOW_FIRST * decode.median {
        let over = 100.0 * (first / decode.median - 1.0);
        doubts.push(format!(
            "the first timed run took {first:.4} s, {over:.0}% above the median of {:.4} s: raise --warmup",
            decode.median
        ));
    }
    let (outliers, runs) = (decode.outliers(), decode.runs.len());
    if outliers as f64 > MOST_OUTLIERS * runs as f64 {
        doubts
            .push(format!("{outliers} of {runs} runs are more than 5 MADs from the median: something else is at work"));
    }
    let Some(Around { before, after }) = telemetry else { return doubts };
    if before.others > 0 {
        let held = before.others_bytes.map_or_else(String::new, |b| format!(", which hold {}", ByteSize(b)));
        doubts.push(format!("{} other processes compute on this GPU{held}", before.others));
    }
    if let Some(busy) = before.utilization.filter(|u| *u > BUSY) {
        doubts.push(format!("the GPU was busy {busy}% of the time before the first decode"));
    }
    if !after.throttling.is_empty() {
        let clocks = after
            .sm_mhz
            .zip(after.max_sm_mhz)
            .map_or_else(String::new, |(now, most)| format!(": {now} MHz of at most {most} after the last run"));
        doubts.push(format!("clocks were lowered ({}){clocks}", after.throttling.join(", ")));
    }
    doubts
}

#[cfg(test)]
mod tests;
