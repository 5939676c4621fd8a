//! `pid plan`: what a decode needs, before anything is allocated.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::report::{CliError, Report};
use super::targets::{Kind, Targets, output_path, stage_text};
use super::{Common, config_file, read_config, shown};
use crate::models::pid::{self, NetworkOptions, Policy};
use crate::plan::ByteSize;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Network: a known name or CONFIG.json.
    #[arg(long, value_name = "NAME|JSON")]
    config: String,
    /// Output width in pixels.
    #[arg(long)]
    width: usize,
    /// Output height in pixels.
    #[arg(long)]
    height: usize,
    /// Pictures decoded together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Caption tokens; the config's maximum by default.
    #[arg(long)]
    tokens: Option<usize>,
    /// Number format: bf16 as on a GPU, f32 as on the CPU.
    #[arg(long, default_value = "bf16", value_parser = str::parse::<Policy>)]
    precision: Policy,
    /// Most memory for weights and activations, e.g. 8GiB; a refusal names the least that works.
    #[arg(long, value_name = "BYTES")]
    budget: Option<ByteSize>,
    /// Draw the plan to this .svg (`-` is standard output): tensors as rectangles, launches against addresses.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    svg: Option<PathBuf>,
    /// List every launch too: when it runs, on which rows, and what is live there.
    #[arg(long)]
    launches: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &PlanArgs) -> Result<Report, CliError> {
    let mut targets = Targets::reading(config_file(&args.config));
    if let Some(path) = &args.svg {
        targets.add("--svg", path, Kind::Drawing)?;
    }
    let config = read_config(&args.config)?;
    let options = NetworkOptions::new(
        usize::from(args.batch),
        args.tokens.unwrap_or(config.txt_max_length),
        [args.width, args.height],
        args.precision,
    );
    options.check(&config).map_err(CliError::usage)?;
    let program = pid::program(&config, &options, args.budget)?;
    let (graph, plan) = (&program.graph, &program.plan);
    let mut json = plan.to_json(graph);
    if let Some(map) = json.as_object_mut() {
        map.insert("config".into(), json!(config.name()));
        map.insert("width".into(), json!(args.width));
        map.insert("height".into(), json!(args.height));
        map.insert("form".into(), json!(program.form));
    }
    let (precision, done) = program.form.split_once(", ").unwrap_or((&program.form, "nothing had to be done"));
    let mut text = format!("{config}\n{}x{}, {precision}\n", args.width, args.height);
    if let Some(budget) = args.budget {
        text.push_str(&format!("budget           {:>10}  ({done})\n", budget.to_string()));
    }
    text.push_str(&plan.summary(graph));
    if args.launches {
        text.push_str(&format!("\n\n{}", plan.table(graph)));
    }
    if let Some(path) = &args.svg {
        targets.commit(vec![stage_text(path, &plan.to_svg(graph))?])?;
        text.push_str(&format!("\nplan drawn to {}", shown(path)));
    }
    let name = crate::models::pid::Release::ALL.iter().find(|r| r.name == args.config);
    let warning = name.and_then(|r| r.sizes.warning(args.width, args.height));
    Ok(Report::new(text, json).with_warnings(warning.into_iter().collect()))
}
