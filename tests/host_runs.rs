//! The tables of measured runs, in each run's own README and in the project's, are what `run.json` says: generated here
//! (`PID_UPDATE=1 cargo test --test host_runs` writes them), compared in every other test run.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const BEGIN: &str = "<!-- generated from run.json by tests/host_runs.rs -->\n";
const END: &str = "<!-- end of the generated part -->\n";

/// `benches/runs/<date>-<device>/run.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// `2026-11-21`.
    date: String,
    /// As it calls itself; newer runs on the same one take this one's place in the project's README.
    device: String,
    /// Of the code that was measured.
    commit: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Network, size, number format.
    what: String,
    ours: Numbers,
    /// What ours is held against.
    other: Other,
    /// Whether the project's README has it too.
    #[serde(default)]
    headline: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    name: String,
    numbers: Numbers,
}

/// What was measured of one program.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    /// Median of a decode.
    seconds: Option<f64>,
    /// Most memory held.
    peak_bytes: Option<f64>,
    /// Relative L2 against the public code in float32.
    error: Option<f64>,
    /// Why there is no number.
    note: Option<String>,
}

impl Numbers {
    fn cell(&self) -> String {
        let seconds = self.seconds.map(|s| if s < 1.0 { format!("{:.1} ms", s * 1e3) } else { format!("{s:.2} s") });
        let bytes = self.peak_bytes.map(|b| format!("{:.2} GB", b / 1e9));
        let error = self.error.map(|e| format!("error {e:.2e}"));
        [seconds, bytes, error, self.note.clone()].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Row {
    /// Theirs over ours: above 1, ours is faster (or nearer); with the memory's where both are known.
    fn ratio(&self) -> String {
        let over = |f: fn(&Numbers) -> Option<f64>| Some(f(&self.other.numbers)? / f(&self.ours)?);
        let named = [(over(|n| n.seconds), ""), (over(|n| n.peak_bytes), " memory"), (over(|n| n.error), " error")];
        let text = |(ratio, name): (Option<f64>, &str)| ratio.map(|r| format!("{r:.2}{name}"));
        named.into_iter().filter_map(text).collect::<Vec<_>>().join(", ")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs by folder name.
fn runs() -> BTreeMap<String, Run> {
    let folders = std::fs::read_dir(root().join("benches/runs")).unwrap().map(|e| e.unwrap().path());
    let parse = |folder: PathBuf| {
        let path = folder.join("run.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let run = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (folder.file_name().unwrap().to_string_lossy().into_owned(), run)
    };
    folders.filter(|f| f.is_dir()).map(parse).collect()
}

fn rows<'a>(table: &mut String, rows: impl Iterator<Item = &'a Row>, place: &str) {
    for row in rows {
        let Row { what, ours, other, .. } = row;
        let (ours, theirs, ratio) = (ours.cell(), other.numbers.cell(), row.ratio());
        writeln!(table, "| {what}{place} | {ours} | {}: {theirs} | {ratio} |", other.name).unwrap();
    }
}

fn head(first: &str) -> String {
    format!("| {first} | pid-engine | held against | theirs / ours |\n|---|---|---|---|\n")
}

/// Puts `table` between the markers of the file, or checks that it is there.
fn settle(path: &Path, table: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap_or_else(|| panic!("{}: no {BEGIN}", path.display()));
    let (old, after) = rest.split_once(END).unwrap_or_else(|| panic!("{}: no {END}", path.display()));
    if std::env::var_os("PID_UPDATE").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        let how = "edited by hand, or stale: PID_UPDATE=1 cargo test --test host_runs";
        assert_eq!(old, table, "{}: {how}", path.display());
    }
}

#[test]
fn each_run_has_its_table() {
    let runs = runs();
    assert!(runs.len() >= 2);
    for (folder, run) in runs {
        assert!(folder.starts_with(&run.date), "{folder}: of {}", run.date);
        let mut table = head(&format!("commit {}", run.commit));
        rows(&mut table, run.rows.iter(), "");
        settle(&root().join("benches/runs").join(folder).join("README.md"), &table);
    }
}

#[test]
fn the_readme_shows_the_newest_run_of_each_device() {
    let mut newest: BTreeMap<String, (String, Run)> = BTreeMap::new();
    // In order of their dates, as folders begin with them.
    for (folder, run) in runs() {
        newest.insert(run.device.clone(), (folder, run));
    }
    let mut table = head("measured");
    for (folder, run) in newest.values() {
        let place = format!("; [{}, {}](benches/runs/{folder}/README.md)", run.device, run.date);
        rows(&mut table, run.rows.iter().filter(|row| row.headline), &place);
    }
    settle(&root().join("README.md"), &table);
}

#[test]
fn ratios_and_cells() {
    let numbers = |seconds, peak_bytes, error| Numbers { seconds, peak_bytes, error, note: None };
    let other = Other { name: "x".into(), numbers: numbers(Some(3.0), Some(2e9), None) };
    let row = Row { what: "a".into(), ours: numbers(Some(0.5), Some(4e9), Some(0.01)), other, headline: false };
    assert_eq!(row.ours.cell(), "500.0 ms, 4.00 GB, error 1.00e-2");
    assert_eq!((row.other.numbers.cell().as_str(), row.ratio().as_str()), ("3.00 s, 2.00 GB", "6.00, 0.50 memory"));
    let note = Numbers { note: Some("out of memory".into()), ..numbers(None, None, None) };
    assert_eq!(note.cell(), "out of memory");
}
