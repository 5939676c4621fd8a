//! Tests of the tests: each faulty copy of a kernel lacks one wait, barrier or guard, and each must be caught.

use std::fs;
use std::path::Path;

use pid_engine::backend::emulator::{Emulator, Scheduler};
use pid_engine::kernels::Entry;
use pid_engine::kernels::table::ENTRIES;

use crate::under_test::{Device, IS_SANITIZED, SCHEDULES, emulator};

/// Asserts that each of `kernels` fails its test on the emulator by some schedule. `test` is what the correct kernel passes.
pub fn assert_caught(kernels: &[&'static str], test: impl Fn(&Device, &'static str) -> Result<(), String>) {
    let devices: Vec<Device> = SCHEDULES.into_iter().chain([Scheduler::Fifo]).map(emulator).collect();
    for kernel in kernels {
        if IS_SANITIZED && Emulator::kernel(kernel).is_none() {
            println!("skipped: {kernel} is not built for sanitizers");
            continue;
        }
        let caught = devices.iter().find_map(|device| test(device, kernel).err().map(|e| (device, e)));
        match caught {
            Some((device, error)) => println!("{kernel}: {}: {error}", device.name),
            None => panic!("{kernel} passes on {} schedules", devices.len()),
        }
    }
}

/// The faulty copies of all kernels that compute `op`.
pub fn faults_of(op: &str) -> Vec<&'static str> {
    faults_where(|entry| entry.op == op)
}

/// The faulty copies of all kernels like this, but those of tests.
pub fn faults_where(is_wanted: impl Fn(&Entry) -> bool) -> Vec<&'static str> {
    let mut faults: Vec<&str> = faulty().filter(|entry| is_wanted(entry)).map(|entry| entry.name).collect();
    faults.sort_unstable();
    assert!(IS_SANITIZED || !faults.is_empty(), "the emulator has no such faulty kernel");
    faults
}

fn faulty() -> impl Iterator<Item = &'static Entry> {
    let faulty = Emulator::kernels().iter().filter(|kernel| kernel.fault_of.is_some());
    faulty.map(|kernel| &kernel.entry).filter(|entry| entry.family != "tests")
}

/// Texts of the tests of kernels.
fn tests(folder: &Path, texts: &mut Vec<String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            tests(&path, texts);
        } else {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// A file asks for faults, and for the kernels that some devices have instead of the portable one, by the op, or names them:
/// none is left out when each op is named where they are asked for.
#[test]
fn every_kernel_is_asked_for() {
    let mut texts = Vec::new();
    tests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels"), &mut texts);
    let quoted = |text: &str, name: &str| text.contains(&format!("\"{name}\""));
    let is_named = |name: &str, functions: &[&str], op: &str| {
        let asks = |text: &String| functions.iter().any(|function| text.contains(function)) && quoted(text, op);
        texts.iter().any(|text| quoted(text, name) || asks(text))
    };
    for entry in faulty() {
        assert!(is_named(entry.name, &["faults_of(", "faults_where("], entry.op), "no test catches {}", entry.name);
    }
    // Attention's tests take all of them.
    let is_special = |entry: &&Entry| entry.family != "portable" && !entry.op.starts_with("attention_");
    let special: Vec<&Entry> = ENTRIES.iter().filter(is_special).collect();
    assert!(special.len() > 30 && (IS_SANITIZED || faulty().count() > 130), "{} {}", special.len(), faulty().count());
    for entry in special {
        let is_tested = is_named(entry.name, &["kernels_of(", "kernels_on("], entry.op);
        assert!(is_tested, "no test runs {}", entry.name);
    }
}
