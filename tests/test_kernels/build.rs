//! Compiles the kernels; `build/emulator.rs` of pid-engine has the flags.

// NOTE: what builds the emulator is not called here.
#[allow(dead_code)]
#[path = "../../build/emulator.rs"]
mod emulator;

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=third_family.cu");
    println!("cargo::rerun-if-changed=../../build/emulator.rs");
    if let Err(message) = std::env::set_current_dir("../..").map_err(|e| e.to_string()).and_then(|()| build()) {
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

/// Micro-tests, a family of kernels that only a test has, and the faulty copies that the emulator's own build leaves out;
/// none of those for sanitizers.
fn build() -> Result<(), String> {
    let sanitizer = emulator::sanitizer()?;
    let (specific, _) = emulator::kernels_by_architecture()?;
    if sanitizer.is_none() {
        let mut faults = emulator::kernels(sanitizer, &specific);
        faults.define("PID_FAULTS_ALONE", None).try_compile("pid_faulty_kernels").map_err(|e| e.to_string())?;
    }
    let mut tests = emulator::files(Path::new(emulator::TESTS), "cu")?;
    tests.push("tests/test_kernels/third_family.cu".into());
    emulator::kernels(sanitizer, &tests).try_compile("pid_test_kernels").map_err(|e| e.to_string())
}
