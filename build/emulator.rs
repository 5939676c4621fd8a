//! Compiles the kernels and the emulator they run on with the host's C++ compiler (feature `emulator`).
//!
//! `PID_SANITIZE` (`address` or `thread`) instruments the kernels, not the emulator's core; the tests must then run with
//! the sanitizer's library preloaded (`tools/sanitize`).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Sources compiled from `kernels/emulator`.
const CORE: &str = "kernels/emulator";

/// Builds both archives.
///
/// # Errors
/// A message: no C++ compiler, or one that refuses a source.
pub fn build() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=PID_SANITIZE");
    if env::var_os("CARGO_FEATURE_EMULATOR").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed=kernels");
    let sanitizer = sanitizer()?;
    let mut core = compiler();
    core.files(files(Path::new(CORE), "cpp")?).opt_level(3);
    // -O1, as the kernels' own fibers are many and short; an uninitialised variable shows as a pattern.
    let mut kernels = compiler();
    kernels.files(kernels_of(Path::new("kernels"))?).opt_level(1).flag("-xc++").flag("-ftrivial-auto-var-init=pattern");
    println!("cargo::rustc-check-cfg=cfg(pid_sanitize, values(\"address\", \"thread\"))");
    if let Some(kind) = sanitizer {
        println!("cargo::rustc-cfg=pid_sanitize=\"{kind}\"");
        core.flag("-include").flag("kernels/emulator/unintercepted.hpp");
    }
    match sanitizer {
        Some("address") => {
            core.define("PID_EMU_ASAN", None);
            kernels.define("PID_EMU_ASAN", None);
            // A report does not end the process: the emulator fails the launch with it (sanitizer.cpp).
            kernels.flag("-fsanitize=address,undefined").flag("-fsanitize-recover=address,undefined");
            println!("cargo::rustc-link-lib=dylib=asan");
            println!("cargo::rustc-link-lib=dylib=ubsan");
        }
        Some(_) => {
            core.define("PID_EMU_TSAN", None);
            kernels.define("PID_EMU_TSAN", None);
            kernels.flag("-fsanitize=thread");
            println!("cargo::rustc-link-lib=dylib=tsan");
        }
        None => {}
    }
    // Kernels enter their table before main(): nothing names their objects, so all of them must be linked.
    kernels.link_lib_modifier("+whole-archive");
    kernels.try_compile("pid_kernels").map_err(|e| e.to_string())?;
    core.try_compile("pid_emulator").map_err(|e| e.to_string())
}

fn sanitizer() -> Result<Option<&'static str>, String> {
    match env::var("PID_SANITIZE").unwrap_or_default().as_str() {
        "" => Ok(None),
        "address" => Ok(Some("address")),
        "thread" => Ok(Some("thread")),
        other => Err(format!("PID_SANITIZE={other}: expected address or thread")),
    }
}

fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").include("kernels").debug(true).extra_warnings(true).warnings(true);
    for flag in ["-fno-strict-aliasing", "-fstack-clash-protection", "-fno-omit-frame-pointer"] {
        build.flag_if_supported(flag);
    }
    build
}

/// Every `.cu` file two levels down.
fn kernels_of(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| format!("{}: {e}", root.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            found.extend(files(&path, "cu")?);
        }
    }
    found.sort();
    Ok(found)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
