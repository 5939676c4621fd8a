//! Graph and plan in one: the cheapest form of a decode that fits the budget.

use super::config::Config;
use super::network;
use super::options::{NetworkOptions, Policy, SizeError, least_common_multiple};
use crate::graph::{Graph, GraphError, fuse};
use crate::plan::{self, ByteSize, PlanError, PlanOptions, Program};

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProgramError {
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Row ranges into which the wide intermediates are cut, cheapest first.
const CHUNKS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Builds the program of a decode: without a budget the fastest form, else the first of the candidates whose peak fits:
/// uncut; rows of the wide intermediates cut; features recomputed besides; and for kernels weights streamed, as few as
/// suffice. All candidates compute the same result.
///
/// # Errors
/// When the sizes do not fit the config, or no candidate fits the budget (the error says by how much).
pub fn program(config: &Config, options: &NetworkOptions, budget: Option<ByteSize>) -> Result<Program, ProgramError> {
    options.check(config)?;
    let Some(budget) = budget else { return candidate(config, options, 1) };
    let most_bytes = usize::try_from(budget.0).unwrap_or(usize::MAX);
    let mut least = (usize::MAX, *options, 1);
    for recompute_features in [false, true] {
        let options = NetworkOptions { recompute_features, ..*options };
        let graph = graph(config, &options)?;
        for chunks in CHUNKS {
            let bytes = plan::least_bytes(&graph, &PlanOptions { chunks, ..PlanOptions::default() })?;
            // No arena is smaller than what lives at once: most candidates need not be planned.
            if bytes <= most_bytes {
                let program = candidate(config, &options, chunks)?;
                if program.plan.peak_bytes <= most_bytes {
                    return Ok(program);
                }
            }
            if bytes < least.0 {
                least = (bytes, options, chunks);
            }
        }
    }
    let (_, options, chunks) = least;
    let mut program = candidate(config, &options, chunks)?;
    // On the CPU weights are in the mapped file anyway.
    if options.fused {
        program.plan.stream_weights(&program.graph, most_bytes);
        let streaming = &program.plan.streaming;
        let size = |bytes: usize| ByteSize(bytes as u64);
        let (once, step, slot) = (size(streaming.once_bytes), size(streaming.step_bytes), size(streaming.slot_bytes));
        program.form.push_str(&match streaming.step_bytes {
            0 => format!(", {once} of weights copied before the loop through two slots of {slot}"),
            _ => format!(", {step} of weights copied in every step through two slots of {slot}"),
        });
    }
    let needed = program.plan.peak_bytes as u64;
    if needed <= budget.0 { Ok(program) } else { Err(PlanError::over_budget(budget, ByteSize(needed)).into()) }
}

/// The graph of a decode, fused where kernels run it.
///
/// # Errors
/// As [`crate::models::Model::build`].
pub fn graph(config: &Config, options: &NetworkOptions) -> Result<Graph, GraphError> {
    let mut graph = network::build(config, options)?;
    for weight in graph.weights.iter_mut().filter(|weight| !weight.is_vector()) {
        weight.format = options.precision.weights;
    }
    if options.fused {
        fuse(&mut graph, options.precision.activations.element)?;
    } else {
        graph.widen();
    }
    Ok(graph)
}

/// The graph of the smallest decode: what holds of its ops holds of any size.
///
/// # Errors
/// Only for a config that [`Config::validate`] refuses.
pub fn smallest(config: &Config) -> Result<Graph, GraphError> {
    let side = least_common_multiple(config.patch_size, config.pixels_per_latent());
    let options = NetworkOptions::new(1, 1, [side, side], Policy::BF16);
    network::build(config, &options)
}

fn candidate(config: &Config, options: &NetworkOptions, chunks: usize) -> Result<Program, ProgramError> {
    let graph = graph(config, options)?;
    let plan_options = PlanOptions { chunks, ..PlanOptions::default() };
    let mut form = vec![options.precision.to_string()];
    if chunks > 1 {
        form.push(format!("wide intermediates in {chunks} row ranges"));
    }
    if options.recompute_features {
        form.push("latent features recomputed in every step".into());
    }
    Ok(Program::new(graph, &plan_options, form.join(", "))?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::cpu::CpuBackend;
    use crate::checkpoint::{Checkpoint, synthetic};
    use crate::exec::{self, Input, NoObserver};
    use crate::models::pid::{self, GateType};
    use crate::progress::NoProgress;
    use crate::sampler::{Noise, NoiseSource, Sampler, Schedule};

    /// Two samples through `program` on the CPU.
    fn decode(config: &Config, program: &Program, checkpoint: &Arc<Checkpoint>) -> Vec<f32> {
        let shape = |name: &str| program.graph[program.graph.named(name).unwrap()].shape.clone();
        let latent = synthetic::latent(&shape("latent"), 3);
        let caption = synthetic::caption(&shape("caption"), 3);
        let schedule = Schedule::new(2, Sampler::Sde).unwrap();
        let times: Vec<f64> = schedule.steps().iter().map(|s| s.t).collect();
        let constants = pid::constants(config, &**checkpoint, &times).unwrap();
        let backend = CpuBackend::new(checkpoint.clone());
        let inputs =
            [Input::floats("latent", &latent), Input::floats("caption", &caption), Input::floats("sigma", &[0.1, 0.4])];
        let iterations = pid::iterations(&schedule, &constants);
        let mut noise = Noise::new(NoiseSource::Philox { seed: 5 });
        exec::run(&backend, program, &inputs, &iterations, pid::IMAGE, &mut noise, &mut NoObserver).unwrap()
    }

    /// What bf16 graphs do otherwise (streams emitted for the next product, folded norms, the last step fused) is the same
    /// arithmetic in another order.
    #[test]
    fn the_float32_twin_of_a_bf16_program_computes_the_same() {
        for gate in [GateType::PerToken, GateType::PerTokenPerDim] {
            let config = Config { lq_gate_type: gate, pit_lq_inject: gate == GateType::PerToken, ..Config::tiny() };
            let checkpoint = Arc::new(Checkpoint::synthetic(&config, 2, &NoProgress));
            let options = NetworkOptions::new(2, 7, [32, 64], Policy::F32);
            let plain = program(&config, &options, None).unwrap();
            let bf16 =
                program(&config, &NetworkOptions { precision: Policy::BF16, fused: true, ..options }, None).unwrap();
            let twin = bf16.float32_twin().unwrap();
            assert_eq!(twin.plan.launches, bf16.plan.launches);
            let [expected, found] = [plain, twin].map(|p| decode(&config, &p, &checkpoint));
            let worst = expected.iter().zip(&found).map(|(e, f)| (e - f).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-4, "{gate:?}: {worst:e}");
            assert_ne!(expected, found, "{gate:?}: the same order would prove nothing");
        }
    }
}
