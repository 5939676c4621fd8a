//! What signals, limits and seeds from outside do to a run of the command.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

// Other tests use the rest of it.
#[allow(dead_code)]
mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Run, Sandbox, json};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/astronaut.png");

/// With a latent whose decode takes some seconds.
fn slow() -> Sandbox {
    let sandbox = Sandbox::with_model();
    sandbox.latent("large.safetensors", &[1, 16, 14, 14], |i| ((i * 37) % 19) as f32 / 9.0 - 1.0);
    sandbox
}

fn start(sandbox: &Sandbox, args: &[&str]) -> Child {
    let child = sandbox.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    child
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "it ended before it could be interrupted");
}

#[test]
fn every_signal_that_ends_a_process_is_an_error() {
    let sandbox = slow();
    let before = sandbox.files();
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "ALRM", "XCPU"] {
        let args = sandbox.decode_args(&["--latent", "large.safetensors", "--out", "a.png", "--json"]);
        let child = start(&sandbox, &args);
        send(&child, signal);
        let run: Run = child.wait_with_output().unwrap().into();
        assert_eq!(run.code, 1, "{signal}: {}", run.stderr);
        assert!(run.stderr.contains("stopped on request"), "{signal}: {}", run.stderr);
        assert!(json(&run.stdout)["error"].is_string(), "{signal}: {}", run.stdout);
        assert_eq!(sandbox.files(), before, "{signal}");
    }
}

/// The latent is a temporary file, and the preview waits for a reader that never comes.
#[test]
fn a_signal_while_saving_leaves_nothing() {
    let sandbox = Sandbox::new();
    assert!(Command::new("mkfifo").arg(sandbox.path("pipe")).status().unwrap().success());
    let args = ["encode", "--image", PICTURE, "--out", "l.safetensors", "--preview", "pipe", "--json"];
    for signals in [1, 2] {
        let child = start(&sandbox, &args);
        assert_eq!(sandbox.files().len(), 2, "a file is begun: {:?}", sandbox.files());
        let begin = Instant::now();
        for _ in 0..signals {
            send(&child, "TERM");
            std::thread::sleep(Duration::from_millis(100));
        }
        let run: Run = child.wait_with_output().unwrap().into();
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert_eq!(run.stderr, "error: stopped on request (SIGTERM)\n");
        assert_eq!(json(&run.stdout)["error"], "stopped on request (SIGTERM)");
        assert_eq!(sandbox.files(), ["pipe"]);
        println!("{signals} signals: {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

fn shell(sandbox: &Sandbox, script: &str, args: &[&str]) -> Run {
    sandbox.script("sh", script, args).unwrap().into()
}

#[test]
fn what_is_ignored_stays_ignored() {
    let sandbox = slow();
    let args = sandbox.decode_args(&["--latent", "large.safetensors", "--out", "a.png"]);
    // A job in the background of a script ignores SIGINT and SIGQUIT.
    let job = "\"$0\" \"$@\" & sleep 0.7; kill -INT $!; kill -QUIT $!; wait $!";
    let nohup = "nohup \"$0\" \"$@\" > /dev/null & sleep 0.7; kill -HUP $!; wait $!";
    let trap = "trap '' TERM; \"$0\" \"$@\" & sleep 0.7; kill -TERM $!; wait $!";
    for script in [job, nohup, trap] {
        let run = shell(&sandbox, script, &args);
        assert_eq!(run.code, 0, "{script}: {}", run.stderr);
        fs::remove_file(sandbox.path("a.png")).unwrap();
    }
    // All others do what they always do.
    let run = shell(&sandbox, "nohup \"$0\" \"$@\" > /dev/null & sleep 0.7; kill -TERM $!; wait $!", &args);
    assert!(run.code == 1 && run.stderr.contains("stopped on request"), "{}", run.stderr);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_of_the_write() {
    let sandbox = Sandbox::with_model();
    let before = sandbox.files();
    let limited = "ulimit -f 8; exec \"$0\" \"$@\"";
    let decode = sandbox.decode_args(&["--out", "a.safetensors", "--json"]);
    let synth = ["synth", "--config", "tiny", "--out", "s.safetensors", "--json"];
    let convert = ["convert", "w.safetensors", "--out", "s.safetensors", "--json"];
    for args in [&decode[..], &synth, &convert] {
        let run = shell(&sandbox, limited, args);
        assert_eq!(run.code, 1, "{args:?}: {}", run.stderr);
        assert!(json(&run.stdout)["error"].as_str().is_some_and(|e| e.contains("File too large")), "{}", run.stdout);
        assert_eq!(sandbox.files(), before, "{args:?}");
    }
}

#[test]
fn a_broken_pipe_is_an_error_and_no_panic() {
    let sandbox = Sandbox::with_model();
    let before = sandbox.files();
    let script = "(\"$0\" \"$@\"; echo $? > code) | true";
    assert_eq!(shell(&sandbox, script, &["synth", "--config", "tiny", "--out", "-"]).code, 0);
    assert_eq!(fs::read_to_string(sandbox.path("code")).unwrap(), "1\n");
    fs::remove_file(sandbox.path("code")).unwrap();
    assert_eq!(sandbox.files(), before);
    if std::path::Path::new("/dev/full").exists() {
        // Nor is a standard error that takes nothing.
        let args = sandbox.decode_args(&["--out", "a.png"]);
        assert_eq!(shell(&sandbox, "exec \"$0\" \"$@\" 2> /dev/full", &args).code, 0);
        let args = sandbox.decode_args(&["--out", "a.png", "--latent", "absent.npy"]);
        assert_eq!(shell(&sandbox, "exec \"$0\" \"$@\" 2> /dev/full", &args).code, 1);
    }
}

fn seed_in(sandbox: &Sandbox, name: &str) -> String {
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(sandbox.path(name)).unwrap()));
    let reader = decoder.read_info().unwrap();
    let texts = &reader.info().uncompressed_latin1_text;
    texts.iter().find(|chunk| chunk.keyword == "pid.seed").unwrap().text.clone()
}

#[test]
fn negative_seeds_are_their_64_bits() {
    let sandbox = Sandbox::with_model();
    for (out, seed) in [("a.png", "-1"), ("b.png", "18446744073709551615"), ("c.png", "-9223372036854775808")] {
        let run = sandbox.decode(&["--out", out, "--seed", seed]);
        assert_eq!(run.code, 0, "{seed}: {}", run.stderr);
    }
    let [a, b, c] = ["a.png", "b.png", "c.png"].map(|name| fs::read(sandbox.path(name)).unwrap());
    assert!(a == b && a != c);
    assert_eq!(seed_in(&sandbox, "a.png"), "18446744073709551615");
    let synth = ["synth", "--config", "tiny", "--out", "s.safetensors", "--json", "--seed"];
    assert_eq!(json(&sandbox.pid(&[&synth[..], &["-7"]].concat()).stdout)["seed"], 7u64.wrapping_neg());
    let encode = ["encode", "--image", PICTURE, "--out", "e.safetensors", "--sigma", "0.5", "--seed", "-2"];
    assert_eq!(sandbox.pid(&encode).code, 0);
    let demo = ["demo", "--synthetic", "--size", "64", "--device", "cpu", "--seed", "-2"];
    assert_eq!(sandbox.pid(&demo).code, 0);
    for wrong in ["18446744073709551616", "-9223372036854775809", "0.5", "dice"] {
        let run = sandbox.decode(&["--out", "d.png", "--seed", wrong]);
        assert!(run.code == 2 && run.stderr.contains("or `random`"), "{wrong}: {}", run.stderr);
    }
}

#[test]
fn a_drawn_seed_is_told_and_repeats() {
    let sandbox = Sandbox::with_model();
    let run = sandbox.decode(&["--out", "a.png", "--seed", "random", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let seed = json(&run.stdout)["seed"].as_u64().unwrap().to_string();
    assert_eq!(seed_in(&sandbox, "a.png"), seed);
    assert_eq!(sandbox.decode(&["--out", "b.png", "--seed", &seed]).code, 0);
    let [a, b] = ["a.png", "b.png"].map(|name| fs::read(sandbox.path(name)).unwrap());
    assert!(a == b, "the drawn seed makes the same picture");
    let text = sandbox.decode(&["--out", "c.png", "--seed", "random"]).stdout;
    assert!(text.contains(&format!("\nseed {}, drawn at random", seed_in(&sandbox, "c.png"))), "{text}");
    assert_ne!(seed_in(&sandbox, "c.png"), seed);
}
