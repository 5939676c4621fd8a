//! Build script: the version that `pid --version` prints, with the commit when there is one.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=.git/HEAD");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=PID_VERSION={version}");
}

/// Short hash of the commit being built; `None` outside a git checkout.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let hash = text.trim();
    (output.status.success() && !hash.is_empty()).then(|| hash.to_owned())
}
