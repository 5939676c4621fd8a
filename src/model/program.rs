//! Graph and plan in one: the cheapest form of a decode that fits the budget.

use super::config::Config;
use super::network;
use super::options::{NetworkOptions, Precision};
use crate::error::Error;
use crate::exec::Program;
use crate::plan::{self, ByteSize, PlanOptions};

/// Row ranges into which the wide intermediates are cut, cheapest first.
const CHUNKS: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Builds the program of a decode: without a budget the fastest form, else the first of the candidates
/// (uncut; rows of the wide intermediates cut; features recomputed besides) whose peak fits. All candidates
/// compute the same result.
///
/// # Errors
/// When the sizes do not fit the config, or no candidate fits the budget (the error says by how much).
pub fn program(config: &Config, options: &NetworkOptions, budget: Option<ByteSize>) -> Result<Program, Error> {
    options.check(config)?;
    let mut least: Option<Program> = None;
    for recompute_features in [false, true] {
        for chunks in CHUNKS {
            let options = NetworkOptions { recompute_features, ..*options };
            let program = candidate(config, &options, chunks)?;
            if budget.is_none_or(|b| program.plan.peak_bytes as u64 <= b.0) {
                return Ok(program);
            }
            if least.as_ref().is_none_or(|l| program.plan.peak_bytes < l.plan.peak_bytes) {
                least = Some(program);
            }
        }
    }
    let needed = least.map_or(0, |l| l.plan.peak_bytes as u64);
    Err(plan::PlanError::over_budget(budget.unwrap_or(ByteSize(0)), ByteSize(needed)).into())
}

fn candidate(config: &Config, options: &NetworkOptions, chunks: usize) -> Result<Program, Error> {
    let network = network::build(config, options)?;
    let weight_bytes_per_element = match options.precision {
        // Released checkpoints store bf16, which the CPU backend reads in place.
        Precision::F32 | Precision::Bf16 => 2,
    };
    let plan_options = PlanOptions { alignment: 256, chunks, weight_bytes_per_element };
    let plan = plan::plan(&network.graph, &plan_options)?;
    let mut variant = vec![format!("{:?}", options.precision).to_lowercase()];
    if chunks > 1 {
        variant.push(format!("wide intermediates in {chunks} row ranges"));
    }
    if options.recompute_features {
        variant.push("latent features recomputed in every step".into());
    }
    Ok(Program { network, plan, variant: variant.join(", ") })
}
