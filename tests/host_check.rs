//! `pid check` as a CI job runs it: it passes on the emulator, names the kernel that is wrong, and says no to nonsense.

#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use common::{Run, Sandbox, json};
use pid_engine::kernels::family::{Family, Sm90};
use pid_engine::kernels::table::ENTRIES;
use serde_json::Value;

/// Rows of the smallest case, for what does not need all of them.
const FEW: &str = "v1.5-loud/gemm_linear";

fn check(sandbox: &Sandbox, args: &[&str]) -> Run {
    sandbox.pid(&[&["check", "--device", "emulator"], args].concat())
}

/// As [`check`], with the faulty kernel `fault` in place of the one it is a copy of.
fn check_faulty(fault: &str, args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pid"));
    command.args(["check", "--device", "emulator"]).args(args).env("PID_CHECK_FAULT", fault);
    command.output().unwrap().into()
}

/// Name to attributes of all elements, in order.
fn elements(xml: &str) -> Vec<(String, BTreeMap<String, String>)> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let mut found = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(e) | Event::Empty(e) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let pair = |a: quick_xml::events::attributes::Attribute<'_>| {
                    (text(a.key.as_ref()), a.unescape_value().unwrap().into_owned())
                };
                found.push((text(e.name().as_ref()), e.attributes().map(|a| pair(a.unwrap())).collect()));
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

#[test]
fn every_kernel_passes_on_the_emulator() {
    let sandbox = Sandbox::new();
    let run = check(&sandbox, &["--json", "--save", "result.json", "--junit", "result.xml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let result = json(&run.stdout);
    let rows = result["rows"].as_array().unwrap();
    println!("{} rows", rows.len());
    let kernels: BTreeSet<String> =
        rows.iter().flat_map(|r| r["kernels"].as_str().unwrap().split('+').map(str::to_owned)).collect();
    // A decode ends with the float32 image; 8-bit pictures are made of it on request. PiD looks nothing up.
    let not_pid = ["image_u8", "rows_lookup"];
    let portable = ENTRIES.iter().filter(|entry| entry.family == "portable" && !not_pid.contains(&entry.name));
    let missing: Vec<&str> = portable.map(|entry| entry.name).filter(|name| !kernels.contains(*name)).collect();
    assert!(missing.is_empty(), "no row checks {missing:?}");
    assert!(rows.iter().all(|r| r["seconds"].is_null()), "the emulator's times mean nothing");

    let saved: Value = serde_json::from_str(&fs::read_to_string(sandbox.path("result.json")).unwrap()).unwrap();
    assert_eq!(saved["rows"], result["rows"]);
    let text = fs::read_to_string(sandbox.path("result.xml")).unwrap();
    assert!(text.contains("time=\"0\""), "{text}");
    let junit = elements(&text);
    let count = |name: &str| junit.iter().filter(|(n, _)| n == name).count();
    assert_eq!((count("testsuite"), count("testcase"), count("failure")), (1, rows.len(), 0));
}

/// As on a GPU of compute capability 9.0: the default variant of every kernel that sm_90a has, and `portable` instead.
#[test]
#[ignore = "slow: CI runs it"]
fn every_default_of_sm_90a_passes_on_the_emulator() {
    let sandbox = Sandbox::new();
    // v1.5-loud and v1-sdxl-observed, small ones: the other cases have other numbers for the same kernels.
    let run = sandbox.pid(&["check", "--device", "emulator:sm_90a", "--filter", "d/", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let result = json(&run.stdout);
    assert_eq!(result["device"], "emulator:sm_90a");
    let rows: Vec<&str> = result["rows"].as_array().unwrap().iter().map(|r| r["kernels"].as_str().unwrap()).collect();
    for variants in Sm90.variants() {
        let default = variants.default().name;
        assert!(rows.contains(&default), "no row checks {default}");
    }
    // Rows of two bytes have no kernel of their own.
    assert!(rows.contains(&"gemm_linear") && !rows.contains(&"gemm_swiglu"), "{rows:?}");

    let args =
        ["check", "--device", "emulator:sm_90a", "--kernels", "portable", "--filter", "v1.5-loud/gemm", "--json"];
    let run = sandbox.pid(&args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stdout.contains("_sm90\"") && run.stdout.contains("\"gemm_swiglu\""), "{}", run.stdout);
}

#[test]
fn a_faulty_kernel_is_named() {
    let sandbox = Sandbox::new();
    let junit = sandbox.path("f.xml");
    let args = ["--filter", FEW, "--json", "--junit", junit.to_str().unwrap()];
    let run = check_faulty("gemm_linear_no_store_guard", &args);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stderr.contains(FEW) && run.stderr.contains("behind"), "{}", run.stderr);
    let result = json(&run.stdout);
    assert!(result["error"].as_str().unwrap().contains("gemm_linear"), "{result}");
    assert_eq!(result["rows"][0]["kernels"], "gemm_linear");
    let junit = elements(&fs::read_to_string(junit).unwrap());
    let failures: Vec<_> = junit.iter().filter(|(name, _)| name == "failure").collect();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].1["message"].contains("gemm_linear"), "{failures:?}");
    let suite = &junit.iter().find(|(name, _)| name == "testsuite").unwrap().1;
    assert_eq!(suite["failures"], "1");

    // Rows of other kernels stay as they are.
    let run = check_faulty("gemm_linear_no_store_guard", &["--filter", "v1.5-loud/rows_restart"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn wrong_numbers_and_caught_races_are_named_too() {
    for (case, fault) in [
        ("v1.5-loud", "attention_online_d64_no_tail_mask"),
        ("v1-sdxl-observed", "conv3x3_tokens_no_border_guard"),
        ("v1.5-loud", "gemm_qkv_d72_no_copy_wait"),
        ("v1.5-loud", "rows_time_silu_no_row_guard"),
    ] {
        let row = format!("{case}/{}", fault.split("_no_").next().unwrap());
        let run = check_faulty(fault, &["--filter", &row]);
        assert_eq!(run.code, 1, "{fault} passes: {}", run.stdout);
        assert!(run.stderr.contains(&row), "{fault}: {}", run.stderr);
    }
}

#[test]
fn a_baseline_that_was_better_is_a_regression() {
    let sandbox = Sandbox::new();
    let run = check(&sandbox, &["--filter", FEW, "--save", "base.json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let again = ["--filter", FEW, "--baseline", "base.json"];
    let run = check(&sandbox, &again);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("1 rows compared") && run.stdout.contains("2 times"), "{}", run.stdout);

    let mut base: Value = serde_json::from_str(&fs::read_to_string(sandbox.path("base.json")).unwrap()).unwrap();
    let now = base["rows"][0]["error"].as_f64().unwrap();
    base["rows"][0]["error"] = (now / 2.5).into();
    let mut gone = base["rows"][0].clone();
    gone["kernels"] = "gemm_linear_of_old".into();
    base["rows"].as_array_mut().unwrap().push(gone);
    fs::write(sandbox.path("base.json"), base.to_string()).unwrap();
    let run = check(&sandbox, &[&again[..], &["--json"]].concat());
    assert_eq!(run.code, 1, "{}", run.stdout);
    let result = json(&run.stdout);
    let regressions: Vec<&str> =
        result["regressions"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
    assert_eq!(regressions.len(), 2, "{regressions:?}");
    let (before, after) = (format!("{:.2e}", now / 2.5), format!("{now:.2e}"));
    for word in ["gemm_linear in v1.5-loud", before.as_str(), after.as_str()] {
        assert!(regressions[0].contains(word), "{word}: {regressions:?}");
    }
    assert!(regressions[1].contains("gemm_linear_of_old") && regressions[1].contains("not in this run"));
    assert!(run.stderr.contains("2 regressions"), "{}", run.stderr);
}

#[test]
fn list_runs_nothing() {
    let sandbox = Sandbox::new();
    let run = sandbox.pid(&["check", "--list"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for word in ["v1.5-flux2", "128 latent channels", "300 caption tokens", "on GPUs", "ode"] {
        assert!(run.stdout.contains(word), "{word}: {}", run.stdout);
    }
    let cases = json(&sandbox.pid(&["check", "--list", "--json"]).stdout);
    assert!(cases["cases"].as_array().unwrap().len() >= 10, "{cases}");
}

#[test]
fn nonsense_is_refused() {
    let sandbox = Sandbox::new();
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let run = sandbox.pid(&[&["check"], args].concat());
        assert_eq!(run.code, code, "{args:?}: {}{}", run.stdout, run.stderr);
        words.iter().for_each(|w| assert!(run.stderr.contains(w), "{args:?} should say {w}: {}", run.stderr));
        let object = json(&sandbox.pid(&[&["check", "--json"], args].concat()).stdout);
        assert!(object["error"].is_string(), "{args:?}: {object}");
    };
    refused(&["--device", "cpu"], 2, &["cpu", "oracle"]);
    refused(&["--device", "tpu"], 2, &["tpu"]);
    refused(&["--device", "emulator", "--filter", "v9/"], 2, &["v9/", "--list"]);
    refused(&["--device", "emulator", "--baseline", "absent.json"], 1, &["absent.json"]);
    refused(&["--device", "emulator", "--save", "no/such/folder.json"], 1, &["no/such/folder.json"]);
    fs::write(sandbox.path("other.json"), "{\"seconds\": 1}").unwrap();
    refused(&["--device", "emulator", "--baseline", "other.json"], 1, &["other.json", "pid check --save"]);
    for fault in ["gemm_linear", "gemm_linear_no_such_thing"] {
        let run = check_faulty(fault, &["--filter", FEW]);
        assert_eq!(run.code, 2, "{}", run.stdout);
        assert!(run.stderr.contains(fault), "{}", run.stderr);
    }
    assert_eq!(sandbox.files(), ["other.json"]);
}

/// A table's choices are what is checked.
#[test]
fn a_tuning_table_is_checked() {
    let sandbox = Sandbox::new();
    let (kernel, variant) = ("gemm_swiglu", "gemm_swiglu_128x128_pingpong_sm90");
    // Whatever rows the cases have; the sizes are those of `tiny`.
    let choices: Vec<Value> = (1..200)
        .map(|rows| serde_json::json!({ "kernel": kernel, "rows": rows, "n": 1024, "k": 192, "variant": variant }))
        .collect();
    let table = serde_json::json!({ "format": "pid-engine tuning", "version": 1, "device": "emulator:sm_90a", "choices": choices });
    fs::write(sandbox.path("t.json"), table.to_string()).unwrap();
    let rows = |args: &[&str]| -> BTreeSet<String> {
        let run = sandbox
            .pid(&[&["check", "--device", "emulator:sm_90a", "--filter", "v1/gemm_swiglu", "--json"], args].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        json(&run.stdout)["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["kernels"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(!rows(&[]).contains(variant));
    assert_eq!(rows(&["--tuning", "t.json"]), BTreeSet::from([variant.to_owned()]));

    let run = sandbox.pid(&["check", "--device", "emulator", "--tuning", "t.json"]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stderr.contains("of device `emulator:sm_90a`, this is `emulator`"), "{}", run.stderr);
    let run = sandbox.pid(&["check", "--kernels", "portable", "--tuning", "t.json"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}
