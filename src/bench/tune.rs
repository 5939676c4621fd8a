//! Launches of a decode one by one: which kernels they run, and, where several could, which is the fastest.

use std::collections::HashSet;

use serde::Serialize;

use super::{BenchOptions, Case, Summary};
use crate::decoder::Decoder;
use crate::error::Error;
use crate::exec::{self, Choice, DecodePhase, ExecError, Observer, Session, StepContext, TimeKernel};
use crate::graph::{Op, TensorId};
use crate::kernels::{OpShape, Tuning};
use crate::plan::Launch;
use crate::sampler::{Noise, Schedule, Variant};

/// One kernel's time for one shape.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The kernel.
    pub variant: &'static str,
    /// Median of the runs.
    pub seconds: f64,
    /// 10^12 FLOP of the launch per second.
    pub tflops: f64,
    /// Whether it is the fastest.
    pub chosen: bool,
    /// Whether it runs where nothing was measured.
    pub default: bool,
}

/// One shape and all kernels that can do it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// The portable kernel.
    pub kernel: &'static str,
    /// Rows of the result; of attention queries, over all heads.
    pub rows: u32,
    /// Columns of the result; of attention keys.
    pub n: u32,
    /// Inner size; of attention that of a head.
    pub k: u32,
    /// The first launch of that shape.
    pub node: String,
    /// The default first.
    pub trials: Vec<Trial>,
}

/// Times every kernel that could do a launch of the decode, once for each shape, on the decode's own values and buffers, and
/// enters the fastest into `tuning`. `options` say how often each is run before it is timed, and then.
///
/// # Errors
/// When a kernel fails, the device has no choice of kernels, or the observer cancels.
pub fn tune(
    decoder: &Decoder,
    options: &BenchOptions,
    tuning: &mut Tuning,
    observer: &mut dyn Observer,
) -> Result<Vec<Tuned>, Error> {
    if !decoder.backend().has_choices() {
        return Err(Error::Device(format!("{}: no kernel comes in several variants there", decoder.device_name())));
    }
    let case = Case::new(decoder, options)?;
    let found = in_session(&case, observer, |session, context, observer| {
        let mut tuner = Tuner { case: &case, session, context, seen: HashSet::new(), found: Vec::new() };
        tuner.walk(observer)?;
        Ok(tuner.found)
    })?;
    for tuned in &found {
        let Tuned { kernel: op, rows, n, k, .. } = *tuned;
        let best = tuned.trials.iter().find(|trial| trial.chosen).expect("of several, one is the fastest");
        tuning.choose(OpShape { op, rows, n, k }, best.variant);
    }
    Ok(found)
}

/// Names of the kernels that each launch of the plan runs; empty lists on a device without kernels.
pub(super) fn kernels(case: &Case<'_>, observer: &mut dyn Observer) -> Result<Vec<Vec<&'static str>>, Error> {
    in_session(case, observer, |session, context, _| {
        case.program.plan.launches.iter().map(|launch| session.kernels(launch, context)).collect()
    })
}

/// Calls `work` with a session of the case's decode, its inputs there, and the context of a decode of one step, whose
/// shapes are those of any.
fn in_session<T>(
    case: &Case<'_>,
    observer: &mut dyn Observer,
    work: impl FnOnce(&mut dyn Session, &StepContext<'_>, &mut dyn Observer) -> Result<T, ExecError>,
) -> Result<T, Error> {
    let (decoder, program) = (case.decoder, &*case.program);
    let schedule = Schedule::new(1, Variant::Sde)?;
    let constants = decoder.constants(&schedule)?;
    let steps = schedule.steps().into_iter().zip(&constants);
    let contexts: Vec<StepContext<'_>> =
        steps.map(|(step, constants)| StepContext { step, variant: schedule.variant, constants }).collect();
    let (latent, request) = (&case.latent, &case.request);
    // Both were checked by the decodes that this one is like.
    let mut warnings = Vec::new();
    let caption = request.caption.for_network(decoder.config(), latent.batch, &mut warnings)?;
    let sigma = request.sigma.for_batch(latent.batch, &mut warnings)?;
    let mut session = decoder.backend().session(program, &contexts, observer)?;
    let network = &program.network;
    session.write(network.latent, &latent.data)?;
    session.write(network.caption, &caption.data)?;
    session.write(network.sigma, &sigma)?;
    Ok(work(&mut *session, &contexts[0], observer)?)
}

struct Tuner<'a> {
    case: &'a Case<'a>,
    session: &'a mut dyn Session,
    context: &'a StepContext<'a>,
    seen: HashSet<OpShape>,
    found: Vec<Tuned>,
}

impl Tuner<'_> {
    /// The decode, launch by launch: each is timed where its shape is new, then run as in a decode.
    fn walk(&mut self, observer: &mut dyn Observer) -> Result<(), ExecError> {
        let case = self.case;
        let graph = &case.program.network.graph;
        let mut noise = Noise::new(case.request.noise.clone());
        let launches = &case.program.plan.launches;
        observer.phase(DecodePhase::Step { index: 0, steps: 1 });
        for (index, launch) in launches.iter().enumerate() {
            let node = &graph.nodes[launch.node];
            if let Op::Noise(op) = &node.op {
                if let Some(draw) = exec::noise_draw(op, node.phase, self.context) {
                    self.session.noise(op.output, &mut noise, draw)?;
                }
                continue;
            }
            if self.is_new(launch)? {
                let kept = self.keep(&node.op)?;
                self.measure(launch)?;
                for (id, values) in kept {
                    self.session.write(id, &values)?;
                }
            }
            // Not `launch`: a GPU would record a graph for each.
            self.session.launch_timed(launch, self.context)?;
            observer.launched(index, launches.len());
            if observer.cancelled() {
                return Err(ExecError::Cancelled { done: 0, steps: 1 });
            }
        }
        observer.phase(DecodePhase::Done);
        Ok(())
    }

    fn is_new(&mut self, launch: &Launch) -> Result<bool, ExecError> {
        let (seen, mut is_new) = (&self.seen, false);
        self.session.time_choices(launch, self.context, &mut |choice, _| {
            is_new |= !seen.contains(&choice.shape);
            Ok(())
        })?;
        Ok(is_new)
    }

    /// What `op` updates, as it is: run after run would drive it out of any range, and numbers decide the power drawn. A
    /// tensor that holds a range of its rows is never updated, only written.
    fn keep(&mut self, op: &Op) -> Result<Vec<(TensorId, Vec<f32>)>, ExecError> {
        let reads = op.reads();
        let updated = op.writes().into_iter().filter(|id| reads.contains(id));
        let whole = updated.filter(|id| !self.case.program.plan.chunked[id.index()]);
        whole.map(|id| Ok((id, self.session.read(id)?))).collect()
    }

    fn measure(&mut self, launch: &Launch) -> Result<(), ExecError> {
        let node = &self.case.program.network.graph.nodes[launch.node];
        let flop = self.case.program.network.graph.work(node, launch.rows.as_ref()).flop as f64;
        let (warm_up, runs) = (self.case.options.warm_up, self.case.options.runs);
        let (seen, found) = (&mut self.seen, &mut self.found);
        self.session.time_choices(launch, self.context, &mut |choice, run| {
            if seen.insert(choice.shape) {
                let seconds = medians(choice, run, warm_up, runs)?;
                found.push(tuned(choice, &node.name, &seconds, flop * choice.share));
            }
            Ok(())
        })
    }
}

/// The median time of each kernel. They take turns, so that a clock that changes changes for all.
fn medians(choice: &Choice, run: &mut TimeKernel<'_>, warm_up: usize, runs: usize) -> Result<Vec<f64>, ExecError> {
    let mut times = vec![Vec::with_capacity(runs); choice.kernels.len()];
    for round in 0..warm_up + runs.max(1) {
        for (kernel, times) in choice.kernels.iter().zip(&mut times) {
            let seconds = run(kernel)?;
            if round >= warm_up {
                times.push(seconds);
            }
        }
    }
    Ok(times.into_iter().map(|times| Summary::of(times).map_or(f64::INFINITY, |s| s.median)).collect())
}

fn tuned(choice: &Choice, node: &str, seconds: &[f64], flop: f64) -> Tuned {
    let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    // The first of equals.
    let chosen = seconds.iter().position(|s| *s == fastest);
    let trial = |(index, (variant, seconds)): (usize, (&&'static str, &f64))| Trial {
        variant,
        seconds: *seconds,
        tflops: flop / seconds.max(f64::MIN_POSITIVE) / 1e12,
        chosen: chosen == Some(index),
        default: *variant == choice.default,
    };
    let OpShape { op, rows, n, k } = choice.shape;
    let trials = choice.kernels.iter().zip(seconds).enumerate().map(trial).collect();
    Tuned { kernel: op, rows, n, k, node: node.into(), trials }
}

/// A table of all trials, the chosen ones marked.
pub fn table(found: &[Tuned]) -> String {
    let name = |t: &Tuned| format!("{} x {} x {}", t.rows, t.n, t.k);
    let shapes = found.iter().map(|t| name(t).len()).max().unwrap_or(0);
    let variants = found.iter().flat_map(|t| &t.trials).map(|t| t.variant.len()).max().unwrap_or(0);
    let mut text = format!("{:shapes$}  {:variants$}  {:>10}  {:>8}", "rows x n x k", "variant", "us", "TFLOP/s");
    for tuned in found {
        for (i, trial) in tuned.trials.iter().enumerate() {
            let shape = if i == 0 { name(tuned) } else { String::new() };
            let Trial { variant, seconds, tflops, .. } = trial;
            let mark = match (trial.chosen, trial.default) {
                (true, true) => "  chosen, the default",
                (true, false) => "  chosen",
                (false, true) => "  default",
                (false, false) => "",
            };
            let us = seconds * 1e6;
            text.push_str(&format!("\n{shape:shapes$}  {variant:variants$}  {us:10.2}  {tflops:8.3}{mark}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHOICE: Choice = Choice {
        shape: OpShape { op: "gemm_linear", rows: 128, n: 64, k: 32 },
        kernels: &["a", "b", "c"],
        default: "a",
        share: 1.0,
    };

    /// A clock of its own: the second kernel is the fastest once it is warm, whatever the first round says.
    #[test]
    fn the_fastest_median_is_chosen() {
        let mut calls = Vec::new();
        let seconds = medians(
            &CHOICE,
            &mut |kernel| {
                calls.push(kernel);
                let round = (calls.len() - 1) / 3;
                Ok(match kernel {
                    "a" => 3.0,
                    "b" => [9.0, 1.0, 8.0, 2.0][round],
                    _ => 2.5,
                })
            },
            1,
            3,
        )
        .unwrap();
        assert_eq!(seconds, [3.0, 2.0, 2.5]);
        assert_eq!(calls.len(), 12);
        assert_eq!(calls[..3], ["a", "b", "c"], "they take turns");
        let tuned = tuned(&CHOICE, "node", &seconds, 6e12);
        let chosen: Vec<&str> = tuned.trials.iter().filter(|t| t.chosen).map(|t| t.variant).collect();
        assert_eq!(chosen, ["b"]);
        assert_eq!(tuned.trials[1].tflops, 3.0);
        let text = table(&[tuned]);
        assert!(text.contains("128 x 64 x 32") && text.contains("default"), "{text}");
        assert_eq!(text.matches("chosen").count(), 1, "{text}");
    }

    #[test]
    fn of_equals_the_first_is_chosen() {
        let tuned = tuned(&CHOICE, "node", &[2.0, 1.0, 1.0], 1.0);
        assert_eq!(tuned.trials.iter().map(|t| t.chosen).collect::<Vec<_>>(), [false, true, false]);
    }
}
