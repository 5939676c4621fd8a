//! Build script: the version that `pid --version` prints, the CUDA kernels for GPUs, and for the emulator.

mod emulator;
mod nvcc;

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build");
    version();
    if let Err(message) = nvcc::build().and_then(|()| emulator::build()) {
        fail(&message);
    }
}

/// Ends the build with a message, which cargo shows line by line.
fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    std::process::exit(1)
}

/// Sets `PID_VERSION`, the crate's version with the commit when there is one, and `PID_COMMIT`, the commit or `unknown`.
fn version() {
    if let Some(head) = git(&["rev-parse", "--git-path", "HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    println!("cargo::rustc-env=PID_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=PID_VERSION={version}");
}

/// What a git command prints; `None` outside a git checkout.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
