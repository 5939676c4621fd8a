//! `pid check`: every kernel against its oracle.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::bench::tuning_fits;
use super::progress::TerminalProgress;
use super::report::{CliError, Report};
use super::targets::{Kind, Targets, output_path, stage_text};
use super::{Common, junit};
use crate::check::{self, CheckError, Options, Outcome, Row, baseline};
use crate::device::Device;
use crate::kernels::{KernelChoice, TuningFile};

/// Names a faulty kernel to run in place of the one it is a copy of, on the emulator: the test of this command.
const FAULT_VARIABLE: &str = "PID_CHECK_FAULT";

fn after_help() -> String {
    format!(
        "Every launch of small decodes (on GPUs also of real-size ones) is run on the device and, with the device's own inputs, \
         on the CPU in float32. It passes when max|x - r| <= 2 max|p - r| + slack max|r|, and the same in the 2-norm: x the \
         device's result, r the CPU's, p = r rounded to the tensor's format, slack by kind of op. Whole decodes are within \
         3e-2 (relative L2) of the CPU's, and two are equal. {} Exit 1 on a failure or a regression.",
        baseline::rules()
    )
}

#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(super) struct CheckArgs {
    /// Where to run: auto (the first GPU, else the emulator), cuda, cuda:N, emulator, emulator:ARCH (sm_90a).
    #[arg(long, default_value = "auto")]
    device: Device,
    /// Kernels: auto (those made for the device, else the portable ones), portable.
    #[arg(long, default_value_t)]
    kernels: KernelChoice,
    /// Table of `pid bench --tune`, to check the variants that it chooses; by default those that run where nothing was
    /// measured.
    #[arg(long, value_name = "FILE")]
    tuning: Option<PathBuf>,
    /// Only rows whose CASE/KERNELS contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// On the emulator, also the cases that take longer.
    #[arg(long)]
    all: bool,
    /// List the cases and run nothing.
    #[arg(long)]
    list: bool,
    /// Write the result as JUnit XML, .xml; `-` is standard output.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    junit: Option<PathBuf>,
    /// Compare with an earlier result.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the result as .json, for --baseline; `-` is standard output.
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    save: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(args: &CheckArgs) -> Result<Report, CliError> {
    if args.list {
        return Ok(list());
    }
    tuning_fits(args.kernels, args.tuning.as_deref())?;
    let mut targets = Targets::reading([args.baseline.as_deref(), args.tuning.as_deref()].into_iter().flatten());
    for (flag, path, kind) in [("--junit", &args.junit, Kind::Junit), ("--save", &args.save, Kind::Table)] {
        path.as_deref().map_or(Ok(()), |path| targets.add(flag, path, kind))?;
    }
    let before = args.baseline.as_deref().map(read_baseline).transpose()?;
    let options = Options {
        device: args.device,
        kernels: args.kernels,
        tuning: args.tuning.clone().map_or(TuningFile::None, TuningFile::At),
        filter: args.filter.clone(),
        all: args.all,
        fault: std::env::var(FAULT_VARIABLE).ok().filter(|f| !f.is_empty()),
        ceiling_bytes: None,
    };
    let progress = TerminalProgress::new(args.common.json);
    let outcome = check::run(&options, &mut progress.observer()).map_err(|e| match e {
        CheckError::Failed(error) => CliError::failed(error),
        usage => CliError::usage(usage),
    })?;
    let comparison = before.map(|before| baseline::compare(&outcome, &before, args.filter.as_deref()));
    let regressions = comparison.as_ref().map_or(&[][..], |c| &c.regressions);
    let junit = args.junit.as_deref().map(|path| stage_text(path, &junit::document(&outcome, regressions)));
    let save = args.save.as_deref().map(|path| stage_text(path, &format!("{:#}\n", json!(outcome))));
    targets.commit(junit.into_iter().chain(save).collect::<Result<_, _>>()?)?;
    Ok(report(&outcome, comparison.as_ref()))
}

fn read_baseline(path: &Path) -> Result<Outcome, CliError> {
    let failed = |e: &dyn std::fmt::Display| CliError::failed(format!("baseline {}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
    serde_json::from_str(&text).map_err(|e| failed(&format!("not a result of `pid check --save`: {e}")))
}

fn list() -> Report {
    let cases = check::cases();
    let lines: Vec<String> = cases.iter().map(|c| format!("{:16} {}", c.name, c.describe())).collect();
    let rows: Vec<Value> = cases
        .iter()
        .map(|c| json!({ "case": c.name, "description": c.describe(), "default": c.runs_on(false, false) }))
        .collect();
    Report::new(lines.join("\n"), json!({ "cases": rows }))
}

fn report(outcome: &Outcome, comparison: Option<&baseline::Comparison>) -> Report {
    let mut complaints = outcome.complaints();
    let failed = complaints.len();
    let mut text = table(outcome);
    text.push_str(&format!("\n{} rows of {} cases on {}", outcome.rows.len(), outcome.cases.len(), outcome.device));
    let mut json = json!(outcome);
    if let (Some(comparison), Some(map)) = (comparison, json.as_object_mut()) {
        let baseline::Comparison { compared, timed, left_out, regressions } = comparison;
        text.push_str(&format!(
            "\nbaseline: {compared} rows compared, {timed} of them in time, {left_out} left out, {} regressions. {}",
            regressions.len(),
            baseline::rules()
        ));
        map.insert("regressions".into(), json!(regressions));
        map.insert("rules".into(), json!(baseline::rules()));
        complaints.extend(regressions.iter().map(|r| format!("regression: {r}")));
    }
    text.extend(complaints.iter().map(|c| format!("\nFAILED {c}")));
    let mut report = Report::new(text, json);
    if let Some(first) = complaints.first() {
        let regressed = complaints.len() - failed;
        report.failure = Some(format!(
            "{failed} of {} rows failed, {regressed} regressions; the first: {first}",
            outcome.rows.len()
        ));
    }
    report
}

fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    if let Some(ceilings) = &outcome.ceilings {
        let (copy, product) = (ceilings.copy_bytes_per_second / 1e9, ceilings.product_flop_per_second / 1e12);
        text.push_str(&format!("ceilings: copy {copy:.0} GB/s, product {product:.1} TFLOP/s (bf16)\n"));
    }
    let width = outcome.rows.iter().map(|r| r.id().len()).max().unwrap_or(0);
    text.push_str(&format!("{:width$}  launches     error     bound   in norm     bound", "case/kernels"));
    if outcome.ceilings.is_some() {
        text.push_str("        time  of floor");
    }
    text.extend(outcome.rows.iter().map(|row| line(row, width)));
    text
}

fn line(row: &Row, width: usize) -> String {
    let Row { launches, error, bound, norm_error, norm_bound, .. } = row;
    let time = match (row.seconds, row.ratio) {
        (Some(seconds), Some(ratio)) => format!("  {:7.3} ms  {ratio:8.2}", seconds * 1e3),
        _ => String::new(),
    };
    let verdict = if row.passes() { "ok" } else { "FAILED" };
    let id = row.id();
    format!(
        "\n{id:width$}  {launches:8}  {error:8.1e}  {bound:8.1e}  {norm_error:8.1e}  {norm_bound:8.1e}{time}  {verdict}"
    )
}
