//! A report as lines of text.

use std::fmt::Write;

use super::{Bench, OpRow, Seconds, Summary};
use crate::plan::ByteSize;

/// `1.23 s`, `45.6 ms`, `7.8 us`.
pub(super) fn seconds(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0} s"),
        v if v >= 1.0 => format!("{v:.2} s"),
        v if v >= 0.1 => format!("{:.0} ms", v * 1e3),
        v if v >= 1e-3 => format!("{:.2} ms", v * 1e3),
        v => format!("{:.1} us", v * 1e6),
    }
}

/// `1.23 T`, `45.6 G`: amounts of FLOP and exponentials.
pub(super) fn amount(value: u64) -> String {
    let value = value as f64;
    match value {
        0.0 => "-".into(),
        v if v >= 1e12 => format!("{:.2} T", v / 1e12),
        v if v >= 1e9 => format!("{:.2} G", v / 1e9),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v => format!("{v:.0}"),
    }
}

/// A number of that many digits after the point, or a dash.
pub(super) fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.digits$}"))
}

/// What was decoded where: `(name, value)`.
pub(super) fn header(bench: &Bench) -> Vec<(&'static str, String)> {
    let mut rows = vec![("device", bench.device.clone())];
    if let Some(around) = &bench.telemetry {
        let driver = around.before.driver_version.clone().unwrap_or_else(|| "unknown".into());
        let cuda = around.before.cuda_version.clone().unwrap_or_else(|| "unknown".into());
        rows.push(("driver", format!("{driver}, CUDA {cuda}")));
        let state = |t: &crate::exec::Telemetry| {
            let of = |value: Option<u32>| value.map_or_else(|| "?".into(), |v| v.to_string());
            format!("{} MHz (memory {}), {} C", of(t.sm_mhz), of(t.memory_mhz), of(t.temperature))
        };
        if around.before.sm_mhz.is_some() {
            rows.push(("clocks", format!("{} before, {} after", state(&around.before), state(&around.after))));
        }
    }
    let batch = if bench.batch > 1 { format!(" x {}", bench.batch) } else { String::new() };
    rows.extend([
        ("network", format!("{}, {}", bench.config.unwrap_or("custom"), bench.form)),
        (
            "decode",
            format!(
                "{}x{}{batch}, {} steps, {} text tokens, seed {}",
                bench.width, bench.height, bench.num_steps, bench.text_tokens, bench.seed
            ),
        ),
        ("build", format!("pid-engine {}, commit {}", bench.version, bench.commit)),
    ]);
    if let Some(ceilings) = &bench.ceilings {
        let [m, n, k] = ceilings.product_shape;
        let exp = ceilings.exp_per_second.map_or_else(String::new, |e| format!(", {:.2} Texp/s", e / 1e12));
        rows.push((
            "ceilings",
            format!(
                "copy {:.1} GB/s, product {m} x {n} x {k} {:.3} TFLOP/s{exp}",
                ceilings.copy_bytes_per_second / 1e9,
                ceilings.product_flop_per_second / 1e12
            ),
        ));
    }
    let measured = bench.peak_bytes.map_or_else(|| "not measured".into(), |b| format!("{} measured", ByteSize(b)));
    rows.push(("memory", format!("{} planned, {measured}", ByteSize(bench.planned_bytes))));
    rows
}

/// Phases of a decode, and their statistics where there are any.
pub(super) fn phases(s: &Seconds) -> Vec<(String, Summary)> {
    let single = |name: &str, value: f64| (name.to_owned(), Summary::of(vec![value]).expect("one run"));
    let mut rows = vec![single("load", s.load), single("plan", s.plan)];
    rows.extend(s.upload.map(|u| single("upload", u)));
    rows.push(single("first decode", s.first));
    rows.push(("prepare".into(), s.prepare.clone()));
    rows.extend(s.steps.iter().enumerate().map(|(k, step)| (format!("step {}", k + 1), step.clone())));
    rows.push(("image out".into(), s.image.clone()));
    rows.extend(s.device.iter().map(|d| ("decode, device".into(), d.clone())));
    rows.push(("decode".into(), s.decode.clone()));
    rows
}

/// Columns of the table of ops.
pub(super) const OP_COLUMNS: [&str; 10] =
    ["op", "launches", "time", "share", "FLOP", "bytes", "TFLOP/s", "GB/s", "floor", "% of floor"];

/// Cells of an op.
pub(super) fn op_cells(row: &OpRow) -> [String; 10] {
    let time = |value: Option<f64>| value.map_or_else(|| "-".into(), seconds);
    let share = row.share.map_or_else(|| "-".into(), |s| format!("{:.1}%", 100.0 * s));
    [
        row.op.to_owned(),
        row.launches.to_string(),
        time(row.seconds),
        share,
        amount(row.work.flop),
        ByteSize(row.work.bytes).to_string(),
        optional(row.rates.tflops, 3),
        optional(row.rates.gbytes_per_second, 1),
        time(row.rates.floor_seconds),
        optional(row.rates.floor_percent, 0),
    ]
}

/// Cells of the last line: the decode.
pub(super) fn total_cells(bench: &Bench) -> [String; 10] {
    let time = bench.seconds.as_ref().map(|s| s.profiled);
    let rate = |amount: u64, unit: f64| time.map(|t| amount as f64 / t / unit);
    let percent = bench.floor_seconds.zip(time).map(|(floor, time)| 100.0 * floor / time);
    [
        "all launches".into(),
        bench.ops.iter().map(|o| o.launches).sum::<usize>().to_string(),
        time.map_or_else(|| "-".into(), seconds),
        if time.is_some() { "100%".into() } else { "-".into() },
        amount(bench.work.flop),
        ByteSize(bench.work.bytes).to_string(),
        optional(rate(bench.work.flop, 1e12), 3),
        optional(rate(bench.work.bytes, 1e9), 1),
        bench.floor_seconds.map_or_else(|| "-".into(), seconds),
        optional(percent, 0),
    ]
}

impl Bench {
    /// Header, phases, ops, notes. Warnings are left to the caller.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        for (name, value) in header(self) {
            let _ = writeln!(out, "{name:9} {value}");
        }
        if let Some(s) = &self.seconds {
            let _ = writeln!(
                out,
                "\n{:15} {:>10} {:>10} {:>10} {:>10} {:>5}",
                "phase", "median", "MAD", "p95", "min", "runs"
            );
            for (name, summary) in phases(s) {
                let [median, mad, p95, min] = [summary.median, summary.mad, summary.p95, summary.min].map(seconds);
                let runs = summary.runs.len();
                let _ = match runs {
                    1 => writeln!(out, "{name:15} {median:>10} {:>10} {:>10} {:>10} {runs:>5}", "-", "-", "-"),
                    _ => writeln!(out, "{name:15} {median:>10} {mad:>10} {p95:>10} {min:>10} {runs:>5}"),
                };
            }
        }
        out.push('\n');
        let cells = self.ops.iter().map(op_cells).chain([total_cells(self)]);
        for [op, rest @ ..] in [OP_COLUMNS.map(str::to_owned)].into_iter().chain(cells) {
            let _ = write!(out, "{op:16}");
            for (cell, width) in rest.iter().zip([8, 10, 7, 10, 11, 8, 8, 10, 10]) {
                let _ = write!(out, " {cell:>width$}");
            }
            out.push('\n');
        }
        for note in &self.notes {
            let _ = write!(out, "\nnote: {note}");
        }
        out
    }
}
