//! `pid bench` as a user runs it: the fields that machines read, sums that agree, the page, refusals.

#![allow(clippy::unwrap_used)]

// Other tests need the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;

use common::{Sandbox, json};
use serde_json::Value;

const TINY: [&str; 10] = ["bench", "--device", "cpu", "--config", "tiny", "--width", "64", "--height", "64", "--runs"];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn sum(rows: &Value, of: impl Fn(&Value) -> f64) -> f64 {
    rows.as_array().unwrap().iter().map(of).sum()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} and {b}");
}

#[test]
fn the_cpu_is_measured() {
    let sandbox = Sandbox::new();
    let run = sandbox.pid(&[&TINY[..], &["2", "--warmup", "0", "--report", "page", "--json"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let bench = json(&run.stdout);
    assert_eq!((&bench["device"], &bench["config"], &bench["width"]), (&"cpu".into(), &"tiny".into(), &64.into()));
    for bytes in ["peak_bytes", "planned_bytes"] {
        assert!(bench[bytes].as_u64().unwrap() > 1 << 20, "{bytes}: {}", bench[bytes]);
    }
    let seconds = &bench["seconds"];
    for phase in ["prepare", "image", "decode"] {
        let runs: Vec<f64> = seconds[phase]["runs"].as_array().unwrap().iter().map(number).collect();
        assert_eq!(runs.len(), 2, "{phase}");
        // Of two runs the median is the mean.
        close(number(&seconds[phase]["median"]), (runs[0] + runs[1]) / 2.0);
        close(number(&seconds[phase]["min"]), runs[0].min(runs[1]));
        close(number(&seconds[phase]["p95"]), runs[0].max(runs[1]));
    }
    assert_eq!(seconds["steps"].as_array().unwrap().len(), 4);
    let phases = |run: usize| {
        let of = |phase: &Value| number(&phase["runs"][run]);
        of(&seconds["prepare"]) + sum(&seconds["steps"], of) + of(&seconds["image"])
    };
    for run in 0..2 {
        let whole = number(&seconds["decode"]["runs"][run]);
        assert!(phases(run) <= whole && phases(run) > 0.5 * whole, "{} of {whole}", phases(run));
    }
    assert!(seconds["upload"].is_null() && seconds["device"].is_null(), "the CPU has neither: {seconds}");
    assert!(number(&bench["ceilings"]["copy_bytes_per_second"]) > 1e8);
    assert!(number(&bench["ceilings"]["product_flop_per_second"]) > 1e8);
    assert!(bench["warnings"].is_array() && bench["commit"].is_string());
    sums_agree(&bench);
    page_is_whole(&fs::read_to_string(sandbox.path("page/index.html")).unwrap());
    assert_eq!(sandbox.files(), ["page"]);
    assert_eq!(fs::read_dir(sandbox.path("page")).unwrap().count(), 1, "nothing but the page");
}

/// Launches, ops and totals tell the same story.
fn sums_agree(bench: &Value) {
    let runs = |launch: &Value| number(&launch["launches"]);
    let taken = |launch: &Value| sum(&launch["seconds"], number);
    close(sum(&bench["ops"], |o| number(&o["seconds"])), number(&bench["seconds"]["profiled"]));
    close(sum(&bench["launches"], taken), number(&bench["seconds"]["profiled"]));
    close(sum(&bench["ops"], |o| number(&o["share"])), 1.0);
    close(sum(&bench["ops"], |o| number(&o["floor_seconds"])), number(&bench["floor_seconds"]));
    close(sum(&bench["ops"], |o| number(&o["launches"])), sum(&bench["launches"], runs));
    for key in ["flop", "exp", "bytes"] {
        close(sum(&bench["ops"], |o| number(&o[key])), number(&bench["work"][key]));
        close(sum(&bench["launches"], |l| runs(l) * number(&l[key])), number(&bench["work"][key]));
    }
    for launch in bench["launches"].as_array().unwrap() {
        assert_eq!(launch["seconds"].as_array().unwrap().len() as f64, runs(launch), "{launch}");
    }
}

/// Well-formed, and nothing to load.
fn page_is_whole(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>"));
    for part in ["Time by op, against its floor", "Launches of step 2", "Memory over the plan", "pixel_update"] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["<script", "<link", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg").count(), 3);
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closes what is not open");
        } else if !tag.starts_with('!') && !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
    }
    assert_eq!(open, [""; 0], "left open");
    assert!(!page.contains("NaN") && !page.contains("inf"), "a number that is none");
}

#[test]
fn the_text_has_every_phase_and_op() {
    let sandbox = Sandbox::new();
    let run = sandbox.pid(&[&TINY[..], &["1", "--warmup", "0", "--steps", "1", "--text-tokens", "3"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    for word in
        ["device", "commit", "ceilings", "planned", "first decode", "prepare", "step 1", "image out", "attention"]
    {
        assert!(run.stdout.contains(word), "{word}: {}", run.stdout);
    }
    assert!(!run.stdout.contains("step 2"), "{}", run.stdout);
    assert!(run.stdout.contains("1 steps, 3 text tokens"), "{}", run.stdout);
}

#[test]
fn the_emulators_work_is_counted() {
    let sandbox = Sandbox::new();
    let args = ["bench", "--device", "emulator", "--width", "2048", "--height", "2048", "--report", "page", "--json"];
    let run = sandbox.pid(&args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let bench = json(&run.stdout);
    assert_eq!((&bench["device"], &bench["config"]), (&"emulator".into(), &"flux-v1.5".into()));
    for absent in ["seconds", "ceilings", "peak_bytes"] {
        assert!(bench[absent].is_null(), "{absent}: {}", bench[absent]);
    }
    // Four of everything in a step, less the noise after the last.
    assert_eq!(sum(&bench["launches"], |l| number(&l["launches"])), sum(&bench["ops"], |o| number(&o["launches"])));
    let attention = bench["ops"].as_array().unwrap().iter().find(|o| o["op"] == "attention").unwrap();
    assert_eq!(attention["launches"], 4 * (14 + 2));
    let flop = number(&bench["work"]["flop"]);
    assert!((flop / 175e12 - 1.0).abs() < 0.01, "{flop}");
    assert!(bench["notes"][0].as_str().unwrap().contains("counts only"), "{}", bench["notes"]);
    let page = fs::read_to_string(sandbox.path("page/index.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 1, "the memory alone");
}

/// Tunes a small decode of the sm_90a kernels on the emulator, whose times are those of its own host.
#[test]
#[cfg(feature = "emulator")]
fn tuned_kernels_are_used_where_they_were_measured() {
    let sandbox = Sandbox::new();
    let size = ["--config", "tiny", "--width", "32", "--height", "32", "--text-tokens", "1", "--json"];
    let bench = |args: &[&str]| {
        let run = sandbox.pid(&[&["bench", "--device", "emulator:sm_90a"], &size[..], args].concat());
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        json(&run.stdout)
    };
    let tuned = bench(&["--tune", "--tuning", "cache/t.json", "--warmup", "0", "--runs", "1"]);
    let rows = tuned["tuned"].as_array().unwrap();
    assert!(rows.len() >= 10, "{}", rows.len());
    let mut table: Value = serde_json::from_str(&fs::read_to_string(sandbox.path("cache/t.json")).unwrap()).unwrap();
    assert_eq!(table["device"], "emulator:sm_90a");
    assert_eq!(table["choices"].as_array().unwrap().len(), rows.len(), "each shape once");
    for row in rows {
        let trials = row["trials"].as_array().unwrap();
        let fastest = trials.iter().min_by(|a, b| number(&a["seconds"]).total_cmp(&number(&b["seconds"]))).unwrap();
        let chosen: Vec<_> = trials.iter().filter(|t| t["chosen"] == true).collect();
        assert_eq!(chosen, [fastest], "{row}");
        // Each was compared with the default, on the decode's own values.
        for trial in trials {
            let (wrong, distance) = (&trial["wrong"], number(&trial["distance"]["relative_l2"]));
            assert!(*wrong == false && distance < 1e-2 && (trial["default"] == false || distance == 0.0), "{trial}");
        }
        let same = |c: &&Value| ["kernel", "rows", "n", "k"].iter().all(|key| c[key] == row[key]);
        let stored = table["choices"].as_array().unwrap().iter().find(same).unwrap();
        assert_eq!(stored["variant"], fastest["variant"]);
    }

    // Another choice than the default, for one shape alone.
    let last = "gemm_linear_128x256_sm90";
    let choices = table["choices"].as_array_mut().unwrap();
    choices.retain(|c| c["kernel"] == "gemm_linear" && c["n"] == 144);
    assert_eq!(choices.len(), 1);
    choices[0]["variant"] = last.into();
    fs::write(sandbox.path("one.json"), table.to_string()).unwrap();
    let counted = bench(&["--tuning", "one.json"]);
    let using = |name: &str| -> Vec<String> {
        let is_it = |l: &&Value| l["kernels"].as_array().unwrap().iter().any(|k| k == name);
        counted["launches"].as_array().unwrap().iter().filter(is_it).map(|l| l["node"].to_string()).collect()
    };
    let nodes = using(last);
    assert!(nodes.len() == 2 && nodes.iter().all(|n| n.contains("compress_to_attn")), "{nodes:?}");
    assert!(!using("gemm_linear_128x128_pingpong_sm90").is_empty(), "other shapes keep the default");
    assert_eq!(bench(&[])["launches"][0]["kernels"], Value::Null, "nothing is opened to count");
    broken_tables(&sandbox, &size, &table);
}

/// A bench refuses them, a decode warns and takes the defaults.
#[cfg(feature = "emulator")]
fn broken_tables(sandbox: &Sandbox, size: &[&str], table: &Value) {
    let (mut version, mut other, mut kernel) = (table.clone(), table.clone(), table.clone());
    version["version"] = 99.into();
    other["device"] = "NVIDIA H100".into();
    kernel["choices"][0]["variant"] = "gemm_linear_1x1_sm90".into();
    let cases = [
        (version.to_string(), "version 99"),
        (other.to_string(), "NVIDIA H100"),
        (kernel.to_string(), "gemm_linear_1x1_sm90"),
        ("{".to_owned(), "not a table"),
    ];
    for (text, words) in cases {
        fs::write(sandbox.path("broken.json"), &text).unwrap();
        let args = ["bench", "--device", "emulator:sm_90a", "--tuning", "broken.json"];
        let run = sandbox.pid(&[&args[..], size].concat());
        assert_eq!(run.code, 1, "{words}: {}", run.stdout);
        let error = json(&run.stdout)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words) && error.contains("broken.json"), "{error}");
    }
    let run = sandbox.pid(&["synth", "--config", "tiny", "--seed", "1", "--out", "w.safetensors"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    sandbox.latent("l.safetensors", &[1, 16, 1, 1], |i| i as f32 / 16.0 - 0.5);
    sandbox.tensor("c.safetensors", "caption", &[1, 1, 64], |i| i as f32 / 64.0 - 0.5);
    let decode = |tuning: &str| {
        let flags = ["--device", "emulator:sm_90a", "--steps", "1", "--out", "o.png", "--tuning", tuning];
        let run = sandbox.decode(&flags);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stderr
    };
    assert!(decode("broken.json").contains("warning: tuning table broken.json: not a table"));
    assert!(!decode("one.json").contains("tuning table"));
    let run = sandbox.decode(&["--kernels", "portable", "--tuning", "one.json"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}

#[test]
fn tuning_needs_a_choice() {
    let sandbox = Sandbox::new();
    let args = ["bench", "--config", "tiny", "--width", "32", "--height", "32", "--tune", "--tuning", "t.json"];
    for (device, kernels, code) in [("cpu", "auto", 1), ("emulator:sm_90a", "portable", 2)] {
        let run = sandbox.pid(&[&args[..], &["--device", device, "--kernels", kernels]].concat());
        assert_eq!(run.code, code, "{device}: {}", run.stderr);
        assert!(run.stderr.contains("variants"), "{}", run.stderr);
    }
    assert_eq!(sandbox.files(), [""; 0]);
}

#[test]
fn a_checkpoint_is_measured() {
    let sandbox = Sandbox::with_model();
    let args = ["bench", "--device", "cpu", "--checkpoint", "w.safetensors", "--width", "32", "--height", "64"];
    let run = sandbox.pid(&[&args[..], &["--runs", "1", "--warmup", "0", "--json"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let bench = json(&run.stdout);
    assert_eq!((&bench["config"], &bench["synthetic"]), (&"tiny".into(), &false.into()));
}

#[test]
fn wrong_usage_is_refused() {
    let sandbox = Sandbox::with_model();
    let refused = |args: &[&str], code: i32, word: &str| {
        let run = sandbox.pid(&[&["bench", "--device", "cpu", "--json"], args].concat());
        assert_eq!(run.code, code, "{args:?}: {}{}", run.stdout, run.stderr);
        let error = json(&run.stdout)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{args:?} should say `{word}`: {error}");
    };
    let before = sandbox.files();
    refused(&["--config", "flux-9000"], 2, "flux-9000");
    refused(&["--config", "tiny", "--width", "65"], 2, "65");
    refused(&["--config", "tiny", "--text-tokens", "25"], 2, "1 to 24");
    refused(&["--config", "tiny", "--steps", "5"], 2, "1 to 4");
    refused(&["--config", "tiny", "--runs", "0"], 2, "0");
    refused(&["--config", "tiny", "--batch", "0"], 2, "0");
    refused(&["--checkpoint", "absent.safetensors"], 1, "absent.safetensors");
    refused(&["--checkpoint", "w.safetensors", "--width", "65"], 1, "65");
    refused(&["--config", "tiny", "--report", "w.safetensors"], 1, "w.safetensors");
    refused(&["--config", "tiny", "--budget", "1MB", "--width", "64", "--height", "64"], 1, "1.0 MB");
    assert_eq!(sandbox.files(), before);
}
