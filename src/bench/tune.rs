//! Launches of a decode one by one: which kernels they run, and, where several could, which is the fastest.

use std::collections::HashSet;

use serde::Serialize;

use super::agree::Distance;
use super::{BenchOptions, Case, Summary};
use crate::decoder::Decoder;
use crate::error::Error;
use crate::exec::{self, Alternatives, DecodePhase, ExecError, Input, Observer, RunAlternative, Session};
use crate::graph::{ElementType, Op, TensorId};
use crate::kernels::{OpShape, Tuning};
use crate::models::pid;
use crate::plan::Iteration;
use crate::plan::Launch;
use crate::sampler::{Noise, Sampler, Schedule};

/// One kernel's time for one shape.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The kernel.
    pub variant: &'static str,
    /// Median of the runs.
    pub seconds: f64,
    /// 10^12 FLOP of the launch per second.
    pub tflops: f64,
    /// Whether it is the fastest of those that are right.
    pub chosen: bool,
    /// How far its result is from the default's, on the decode's own values.
    pub distance: Distance,
    /// Whether that is more than rounding explains. Such a kernel is never chosen.
    pub wrong: bool,
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

/// Times every kernel that could do a launch of the decode, once for each shape, on the decode's own values and buffers,
/// compares its result with the default's, and enters the fastest that is right into `tuning`. `options` say how often each is run before it is timed, and then.
///
/// # Errors
/// When a kernel fails, a default gives values that are not finite, the device has no choice of kernels, or the observer
/// cancels.
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
    let found = in_session(&case, observer, |session, iteration, observer| {
        let mut tuner = Tuner { case: &case, session, iteration, seen: HashSet::new(), found: Vec::new() };
        tuner.walk(observer)?;
        Ok(tuner.found)
    })?;
    for tuned in &found {
        let Tuned { kernel: op, rows, n, k, .. } = *tuned;
        let Some(best) = tuned.trials.iter().find(|trial| trial.chosen) else {
            let what = OpShape { op, rows, n, k };
            return Err(Error::Device(format!(
                "{} ({what}): the default kernel gives values that are not finite: run `pid check`",
                tuned.node
            )));
        };
        tuning.choose(OpShape { op, rows, n, k }, best.variant);
    }
    Ok(found)
}

/// Names of the kernels that each launch of the plan runs; empty lists on a device without kernels.
pub(super) fn kernels(case: &Case<'_>, observer: &mut dyn Observer) -> Result<Vec<Vec<&'static str>>, Error> {
    in_session(case, observer, |session, iteration, _| {
        case.program.plan.launches.iter().map(|launch| session.kernels(launch, iteration)).collect()
    })
}

/// Calls `work` with a session of the case's decode, its inputs there, and the iteration of a decode of one step, whose
/// shapes are those of any.
fn in_session<T>(
    case: &Case<'_>,
    observer: &mut dyn Observer,
    work: impl FnOnce(&mut dyn Session, &Iteration<'_>, &mut dyn Observer) -> Result<T, ExecError>,
) -> Result<T, Error> {
    let (decoder, program) = (case.decoder, &*case.program);
    let schedule = Schedule::new(1, Sampler::Sde)?;
    let constants = decoder.constants(&schedule)?;
    let iterations = pid::iterations(&schedule, &constants);
    let (latent, request) = (&case.latent, &case.request);
    // Both were checked by the decodes that this one is like.
    let mut warnings = Vec::new();
    let caption = request.caption.for_network(decoder.config(), latent.batch, &mut warnings)?;
    let sigma = request.sigma.for_batch(latent.batch, &mut warnings)?;
    let mut session = decoder.backend().session(program, &iterations, observer)?;
    let inputs = [
        Input::floats("latent", &latent.data),
        Input::floats("caption", &caption.data),
        Input::floats("sigma", &sigma),
    ];
    exec::write_inputs(&mut *session, program, &inputs)?;
    Ok(work(&mut *session, &iterations[0], observer)?)
}

struct Tuner<'a> {
    case: &'a Case<'a>,
    session: &'a mut dyn Session,
    iteration: &'a Iteration<'a>,
    seen: HashSet<OpShape>,
    found: Vec<Tuned>,
}

impl Tuner<'_> {
    /// The decode, launch by launch: each is timed where its shape is new, then run as in a decode.
    fn walk(&mut self, observer: &mut dyn Observer) -> Result<(), ExecError> {
        let case = self.case;
        let graph = &case.program.graph;
        let mut noise = Noise::new(case.request.noise.clone());
        let launches = &case.program.plan.launches;
        observer.phase(DecodePhase::Step { index: 0, steps: 1 });
        for (index, launch) in launches.iter().enumerate() {
            let node = &graph.nodes[launch.node];
            if let Op::Noise(op) = &node.op {
                if let Some(draw) = exec::noise_draw(op, node.phase, self.iteration) {
                    self.session.noise(op.output, &mut noise, draw)?;
                }
                continue;
            }
            if self.is_new(launch)? {
                let results = self.results(&node.op, launch)?;
                self.measure(launch, &results)?;
                for Written { id, before, .. } in results {
                    self.session.write(id, &before)?;
                }
            }
            // Not `launch`: a GPU would record a graph for each.
            self.session.launch_timed(launch, self.iteration)?;
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
        self.session.alternatives(launch, self.iteration, &mut |of, _| {
            is_new |= !seen.contains(&of.shape);
            Ok(())
        })?;
        Ok(is_new)
    }

    /// Tensors that `op` writes, as they are before: run after run would drive what it updates out of any range, and numbers
    /// decide the power drawn. Of a tensor that holds a range of its rows (which is never updated) only those are there, and
    /// nobody else has use for them.
    fn results(&mut self, op: &Op, launch: &Launch) -> Result<Vec<Written>, ExecError> {
        let (graph, chunked) = (&self.case.program.graph, &self.case.program.plan.chunked);
        let reads = op.reads();
        let written = op.writes().into_iter().map(|id| {
            let (element, updated) = (graph[id].format.element, reads.contains(&id));
            let before = match (&launch.rows, op.row_domain()) {
                (Some(rows), Some(domain)) if chunked[id.index()] => {
                    vec![0.0; graph[id].elements() / domain * rows.len()]
                }
                _ => self.session.read(id)?,
            };
            Ok(Written { id, element, updated, before })
        });
        written.collect()
    }

    fn measure(&mut self, launch: &Launch, results: &[Written]) -> Result<(), ExecError> {
        let node = &self.case.program.graph.nodes[launch.node];
        let flop = self.case.program.graph.work(node, launch.rows.as_ref()).flop as f64;
        let (warm_up, runs) = (self.case.options.warm_up, self.case.options.runs);
        let (seen, found) = (&mut self.seen, &mut self.found);
        self.session.alternatives(launch, self.iteration, &mut |of, run| {
            if seen.insert(of.shape) {
                let agreement = compare(of, run, results)?;
                let seconds = medians(of, run, warm_up, runs)?;
                found.push(tuned(of, &node.name, &seconds, &agreement, flop * of.share));
            }
            Ok(())
        })
    }
}

/// A tensor that a launch writes.
struct Written {
    id: TensorId,
    element: ElementType,
    /// Whether the launch reads it, too.
    updated: bool,
    /// What is in it before the launch.
    before: Vec<f32>,
}

/// How far each kernel's result is from the default's, and whether that is more than rounding. Each begins with what the launch
/// updates as it is before, and zeros in the rest: what a kernel leaves out is seen, and rows that the op has no use for, with
/// whatever lay there, are not.
fn compare(
    of: &Alternatives,
    run: &mut dyn RunAlternative,
    results: &[Written],
) -> Result<Vec<(Distance, bool)>, ExecError> {
    let mut result_of = |kernel| -> Result<Vec<Vec<f32>>, ExecError> {
        for written in results {
            match written.updated {
                true => run.write(written.id, &written.before)?,
                false => run.write(written.id, &vec![0.0; written.before.len()])?,
            }
        }
        run.run(kernel)?;
        results.iter().map(|written| run.read(written.id, written.before.len())).collect()
    };
    let expected = result_of(of.default)?;
    let mut agreement = Vec::with_capacity(of.kernels.len());
    for kernel in of.kernels {
        let got = if *kernel == of.default { expected.clone() } else { result_of(kernel)? };
        let (mut distance, mut is_wrong) = (Distance::default(), false);
        for ((written, got), expected) in results.iter().zip(&got).zip(&expected) {
            let one = Distance::between(got, expected);
            distance = distance.or_worse(one);
            is_wrong |= !one.is_rounding(written.element);
        }
        agreement.push((distance, is_wrong));
    }
    Ok(agreement)
}

/// The median time of each kernel. They take turns, so that a clock that changes changes for all.
fn medians(
    of: &Alternatives,
    run: &mut dyn RunAlternative,
    warm_up: usize,
    runs: usize,
) -> Result<Vec<f64>, ExecError> {
    let mut times = vec![Vec::with_capacity(runs); of.kernels.len()];
    for round in 0..warm_up + runs.max(1) {
        for (kernel, times) in of.kernels.iter().zip(&mut times) {
            let seconds = run.run(kernel)?;
            if round >= warm_up {
                times.push(seconds);
            }
        }
    }
    Ok(times.into_iter().map(|times| Summary::of(times).map_or(f64::INFINITY, |s| s.median)).collect())
}

fn tuned(of: &Alternatives, node: &str, seconds: &[f64], agreement: &[(Distance, bool)], flop: f64) -> Tuned {
    let right = || seconds.iter().zip(agreement).enumerate().filter(|(_, (_, (_, is_wrong)))| !is_wrong);
    let fastest = right().map(|(_, (seconds, _))| *seconds).fold(f64::INFINITY, f64::min);
    // The first of equals.
    let chosen = right().find(|(_, (seconds, _))| **seconds == fastest).map(|(index, _)| index);
    let trial = |(index, variant): (usize, &&'static str)| Trial {
        variant,
        seconds: seconds[index],
        tflops: flop / seconds[index].max(f64::MIN_POSITIVE) / 1e12,
        chosen: chosen == Some(index),
        distance: agreement[index].0,
        wrong: agreement[index].1,
        default: *variant == of.default,
    };
    let OpShape { op, rows, n, k } = of.shape;
    let trials = of.kernels.iter().enumerate().map(trial).collect();
    Tuned { kernel: op, rows, n, k, node: node.into(), trials }
}

/// Those of `found` that are wrong, in words; they are in no table.
pub fn wrong(found: &[Tuned]) -> Vec<String> {
    let of = |tuned: &Tuned| -> Vec<String> {
        let shape = OpShape { op: tuned.kernel, rows: tuned.rows, n: tuned.n, k: tuned.k };
        let wrong = tuned.trials.iter().filter(|trial| trial.wrong);
        wrong
            .map(|Trial { variant, distance: Distance { relative_l2, worst }, .. }| {
                format!(
                    "{variant} is wrong and was not chosen: {shape} of {}, relative L2 {relative_l2:.1e} from the default's \
                     result, its worst value {worst:.1e} of the largest",
                    tuned.node
                )
            })
            .collect()
    };
    found.iter().flat_map(of).collect()
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
                _ if trial.wrong => "  wrong",
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

    const THREE: Alternatives = Alternatives {
        shape: OpShape { op: "gemm_linear", rows: 128, n: 64, k: 32 },
        kernels: &["a", "b", "c"],
        default: "a",
        share: 1.0,
    };
    const EQUAL: [(Distance, bool); 3] = [(Distance { relative_l2: 0.0, worst: 0.0 }, false); 3];

    fn updated(element: ElementType, before: Vec<f32>) -> Written {
        Written { id: TensorId(0), element, updated: true, before }
    }

    /// A clock of its own, and a tensor that every kernel multiplies by its factor.
    struct Fake {
        calls: Vec<&'static str>,
        updated: Vec<f32>,
        /// Of the first kernel, and of each after it.
        factors: [f32; 3],
    }

    impl RunAlternative for Fake {
        fn run(&mut self, kernel: &'static str) -> Result<f64, ExecError> {
            self.calls.push(kernel);
            let round = (self.calls.len() - 1) / 3;
            let index = THREE.kernels.iter().position(|name| *name == kernel).unwrap();
            self.updated.iter_mut().for_each(|x| *x *= self.factors[index]);
            Ok(match kernel {
                "a" => 3.0,
                "b" => [9.0, 1.0, 8.0, 2.0][round % 4],
                _ => 2.5,
            })
        }

        fn read(&mut self, _: TensorId, elements: usize) -> Result<Vec<f32>, ExecError> {
            Ok(self.updated[..elements].to_vec())
        }

        fn write(&mut self, _: TensorId, values: &[f32]) -> Result<(), ExecError> {
            self.updated = values.to_vec();
            Ok(())
        }
    }

    /// The second kernel is the fastest once it is warm, whatever the first round says.
    #[test]
    fn the_fastest_median_is_chosen() {
        let mut fake = Fake { calls: Vec::new(), updated: Vec::new(), factors: [1.0; 3] };
        let seconds = medians(&THREE, &mut fake, 1, 3).unwrap();
        assert_eq!(seconds, [3.0, 2.0, 2.5]);
        assert_eq!(fake.calls.len(), 12);
        assert_eq!(fake.calls[..3], ["a", "b", "c"], "they take turns");
        let tuned = tuned(&THREE, "node", &seconds, &EQUAL, 6e12);
        let chosen: Vec<&str> = tuned.trials.iter().filter(|t| t.chosen).map(|t| t.variant).collect();
        assert_eq!(chosen, ["b"]);
        assert_eq!(tuned.trials[1].tflops, 3.0);
        let text = table(&[tuned]);
        assert!(text.contains("128 x 64 x 32") && text.contains("default"), "{text}");
        assert_eq!(text.matches("chosen").count(), 1, "{text}");
    }

    /// What is updated in place is the same before each, so that only what a kernel does itself tells.
    #[test]
    fn a_fast_and_wrong_kernel_does_not_win() {
        let results = [updated(ElementType::Bf16, vec![1.0, -2.0, 3.0])];
        let fake = |factors| Fake { calls: Vec::new(), updated: Vec::new(), factors };
        let agreement = compare(&THREE, &mut fake([2.0, 2.0, 2.002]), &results).unwrap();
        assert!(agreement.iter().all(|(_, is_wrong)| !is_wrong), "{agreement:?}");
        let agreement = compare(&THREE, &mut fake([2.0, 1.9, 2.0]), &results).unwrap();
        assert_eq!(agreement.iter().map(|(_, is_wrong)| *is_wrong).collect::<Vec<_>>(), [false, true, false]);
        let tuned = [tuned(&THREE, "node", &[3.0, 2.0, 2.5], &agreement, 1.0)];
        assert_eq!(tuned[0].trials.iter().map(|t| t.chosen).collect::<Vec<_>>(), [false, false, true]);
        let [message] = &wrong(&tuned)[..] else { panic!("one is wrong") };
        assert!(
            message.starts_with("b is wrong") && message.contains("gemm_linear 128 x 64 x 32 of node"),
            "{message}"
        );
        assert!(message.contains("relative L2 5.0e-2"), "{message}");
        assert!(table(&tuned).contains("  wrong"));
    }

    /// The second kernel writes the first value alone, and the last is one that the op has no use for.
    #[test]
    fn what_a_kernel_leaves_out_is_seen() {
        struct Partial(Vec<f32>);
        impl RunAlternative for Partial {
            fn run(&mut self, kernel: &'static str) -> Result<f64, ExecError> {
                let written = if kernel == "b" { 1 } else { 2 };
                self.0[..written].fill(5.0);
                Ok(1.0)
            }

            fn read(&mut self, _: TensorId, elements: usize) -> Result<Vec<f32>, ExecError> {
                Ok(self.0[..elements].to_vec())
            }

            fn write(&mut self, _: TensorId, values: &[f32]) -> Result<(), ExecError> {
                self.0 = values.to_vec();
                Ok(())
            }
        }
        let before = vec![f32::NAN; 3];
        let results = [Written { updated: false, ..updated(ElementType::Bf16, before.clone()) }];
        let agreement = compare(&THREE, &mut Partial(before), &results).unwrap();
        assert_eq!(agreement.iter().map(|(_, is_wrong)| *is_wrong).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn where_the_default_is_not_finite_nothing_is_chosen() {
        let results = [updated(ElementType::F32, vec![1.0])];
        let mut fake = Fake { calls: Vec::new(), updated: Vec::new(), factors: [f32::NAN, 1.0, 1.0] };
        let agreement = compare(&THREE, &mut fake, &results).unwrap();
        let tuned = tuned(&THREE, "node", &[3.0, 2.0, 2.5], &agreement, 1.0);
        assert!(tuned.trials.iter().all(|trial| !trial.chosen && trial.wrong), "{tuned:?}");
    }

    #[test]
    fn of_equals_the_first_is_chosen() {
        let tuned = tuned(&THREE, "node", &[2.0, 1.0, 1.0], &EQUAL, 1.0);
        assert_eq!(tuned.trials.iter().map(|t| t.chosen).collect::<Vec<_>>(), [false, true, false]);
    }
}
