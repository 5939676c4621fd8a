//! `pid demo` as a newcomer runs it: what it writes, what it says, what it refuses.

#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;

use common::{Sandbox, json};
use pid_engine::latent::read_picture;

const ASTRONAUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/astronaut.png");

fn size(sandbox: &Sandbox, name: &str) -> (usize, usize) {
    let picture = read_picture(&sandbox.path(name)).unwrap();
    (picture.width, picture.height)
}

#[test]
fn a_photograph_comes_out_of_a_latent() {
    let sandbox = Sandbox::new();
    let run = sandbox.pid(&["demo", "--device", "cpu", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert_eq!(sandbox.files(), ["pid-demo-panel.png", "pid-demo.png"]);
    assert_eq!(size(&sandbox, "pid-demo.png"), (512, 512));
    assert_eq!(size(&sandbox, "pid-demo-panel.png"), (4 * 512 + 3 * 8, 512));
    let report = json(&run.stdout);
    assert_eq!((&report["config"], &report["panel"]), (&"demo".into(), &"pid-demo-panel.png".into()));
    let [pid, baseline] = ["psnr_db", "baseline_psnr_db"].map(|key| report[key].as_f64().unwrap());
    assert!((baseline - 26.64).abs() < 0.05, "{baseline}");
    assert!(pid > baseline && pid < baseline + 3.0, "{pid}, {baseline}");
    assert!(report["declared_clean_psnr_db"].is_null());
    assert_eq!(report["seconds"]["steps"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_picture_of_ones_own_with_noise() {
    let sandbox = Sandbox::new();
    let args = ["demo", "--device", "cpu", "--size", "160", "--image", ASTRONAUT, "--sigma", "0.4", "--out", "a.jpg"];
    let run = sandbox.pid(&[&args[..], &["--json"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert_eq!(sandbox.files(), ["a-panel.jpg", "a.jpg"]);
    let report = json(&run.stdout);
    assert_eq!((&report["width"], &report["sigma"]), (&160.into(), &0.4.into()));
    let [pid, clean] = ["psnr_db", "declared_clean_psnr_db"].map(|key| report[key].as_f64().unwrap());
    assert!(pid > clean, "{pid} dB with the noise declared, {clean} dB without");
    let said = sandbox.pid(&args).stdout;
    assert!(said.contains("decoded as if it were clean"), "{said}");
}

/// What `demo` does in one go, step by step: the same pixels, and nothing to warn of.
#[test]
fn encode_and_decode_make_the_same_picture() {
    let sandbox = Sandbox::new();
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/demo.safetensors");
    let noise = ["--sigma", "0.3", "--seed", "5"];
    for args in [
        &["encode", "--image", ASTRONAUT, "--out", "l.safetensors", "--checkpoint", weights][..],
        &["decode", "--latent", "l.safetensors", "--out", "a.png", "--checkpoint", weights, "--device", "cpu"],
        &["demo", "--image", ASTRONAUT, "--out", "b.png", "--device", "cpu"],
    ] {
        let run = sandbox.pid(&[args, &noise].concat());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{args:?}");
    }
    let [a, b] = ["a.png", "b.png"].map(|name| read_picture(&sandbox.path(name)).unwrap());
    assert!(a == b, "the pictures differ");
}

#[test]
fn the_synthetic_form_needs_no_files() {
    let sandbox = Sandbox::new();
    let run = sandbox.pid(&["demo", "--synthetic", "--device", "cpu", "--size", "128", "--out", "d.png", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = json(&run.stdout);
    assert_eq!(report["device"], "cpu");
    assert!(report["seconds"]["steps"].as_array().is_some_and(|s| s.len() == 4));
    assert_eq!(sandbox.files(), ["d-plan.svg", "d.png"]);
    assert!(run.stderr.is_empty(), "quiet in a pipe: {}", run.stderr);
    let svg = fs::read_to_string(sandbox.path("d-plan.svg")).unwrap();
    assert!(svg.starts_with("<svg") || svg.starts_with("<?xml"), "{}", &svg[..60]);
    let run = sandbox.pid(&["demo", "--synthetic", "--device", "cpu", "--size", "64"]);
    assert!(run.stdout.contains("synthetic") && run.stdout.contains("not a photograph"), "{}", run.stdout);
}

#[test]
fn refusals_name_what_is_wrong_and_leave_nothing() {
    let sandbox = Sandbox::with_model();
    fs::write(sandbox.path("broken.png"), b"\x89PNG no").unwrap();
    for name in ["own.png", "own-panel.png"] {
        fs::copy(ASTRONAUT, sandbox.path(name)).unwrap();
    }
    let before = sandbox.files();
    let large = ["--size", "4128"];
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--image", "none.png"], 1, "none.png"),
        (&["--image", "broken.png"], 1, "damaged"),
        (&["--checkpoint", "w.safetensors"], 1, "not trained on dct16"),
        (&["--sigma", "1.5"], 2, "1.5"),
        (&["--sigma", "0.1,0.2"], 2, "one sigma"),
        (&["--size", "100"], 2, "multiple of 32"),
        (&large, 2, "4096"),
        (&["--synthetic", "--image", ASTRONAUT], 2, "--image"),
        (&["--out", "none/a.png"], 1, "does not exist"),
        (&["--image", "own.png", "--out", "./own.png"], 2, "written over"),
        (&["--image", "own-panel.png", "--out", "own.png"], 2, "written over"),
        (&["--out", "a.bmp"], 1, "bmp"),
        (&["--out", "a"], 1, "safetensors"),
    ];
    for (args, code, word) in cases {
        let run = sandbox.pid(&[&["demo"], *args].concat());
        assert_eq!(run.code, *code, "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{args:?}: {}", run.stderr);
        assert_eq!(sandbox.files(), before, "{args:?}");
    }
}
