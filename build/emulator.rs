//! Compiles the kernels and the emulator they run on with the host's C++ compiler (feature `emulator`).
//!
//! `PID_SANITIZE` (`address` or `thread`) instruments the kernels, not the emulator's core; the tests must then run with
//! the sanitizer's library preloaded (`tools/sanitize`).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Sources compiled from `kernels/emulator`.
const CORE: &str = "kernels/emulator";

/// The folder of kernels that only tests launch.
pub const TESTS: &str = "kernels/tests";

/// Builds the emulator's core and the kernels. Of kernels for one architecture and of micro-tests come the faulty copies in
/// `tests/test_kernels`: they are most of what there is to compile.
///
/// # Errors
/// A message: no C++ compiler, or one that refuses a source.
pub fn build() -> Result<(), String> {
    if env::var_os("CARGO_FEATURE_EMULATOR").is_none() {
        println!("cargo::rerun-if-env-changed=PID_SANITIZE");
        return Ok(());
    }
    let sanitizer = sanitizer()?;
    println!("cargo::rustc-check-cfg=cfg(pid_sanitize, values(\"address\", \"thread\"))");
    if let Some(kind) = sanitizer {
        println!("cargo::rustc-cfg=pid_sanitize=\"{kind}\"");
    }
    let (specific, portable) = kernels_by_architecture()?;
    let mut specific = kernels(sanitizer, &specific);
    specific.define("PID_WITHOUT_FAULTS", None).try_compile("pid_kernels_specific").map_err(|e| e.to_string())?;
    let mut portable = kernels(sanitizer, &portable);
    if sanitizer.is_some() {
        // Instrumented they are most of what there is to compile, and caught without.
        portable.define("PID_WITHOUT_FAULTS", None);
    }
    portable.try_compile("pid_kernels").map_err(|e| e.to_string())?;

    let mut core = compiler();
    core.files(files(Path::new(CORE), "cpp")?).opt_level(3);
    match sanitizer {
        Some("address") => _ = core.define("PID_EMU_ASAN", None),
        Some(_) => _ = core.define("PID_EMU_TSAN", None),
        None => {}
    }
    if sanitizer.is_some() {
        core.flag("-include").flag("kernels/emulator/unintercepted.hpp");
    }
    // Whole, as kernels of tests may come before or after it and use more of it than others.
    core.link_lib_modifier("+whole-archive");
    core.try_compile("pid_emulator").map_err(|e| e.to_string())
}

/// A compiler of kernels, instrumented for `sanitizer`.
pub fn kernels(sanitizer: Option<&str>, files: &[PathBuf]) -> cc::Build {
    // -O1, as the kernels' own fibers are many and short; an uninitialised variable shows as a pattern.
    let mut kernels = compiler();
    kernels.files(files).opt_level(1).flag("-xc++").flag("-ftrivial-auto-var-init=pattern");
    match sanitizer {
        Some("address") => {
            kernels.define("PID_EMU_ASAN", None);
            // A report does not end the process: the emulator fails the launch with it (sanitizer.cpp).
            kernels.flag("-fsanitize=address,undefined").flag("-fsanitize-recover=address,undefined");
            println!("cargo::rustc-link-lib=dylib=asan");
            println!("cargo::rustc-link-lib=dylib=ubsan");
        }
        Some(_) => {
            kernels.define("PID_EMU_TSAN", None);
            kernels.flag("-fsanitize=thread");
            println!("cargo::rustc-link-lib=dylib=tsan");
        }
        None => {}
    }
    // Kernels enter their table before main(): nothing names their objects, so all of them must be linked.
    kernels.link_lib_modifier("+whole-archive");
    kernels
}

/// `PID_SANITIZE`. What depends on it depends on the sources, too.
pub fn sanitizer() -> Result<Option<&'static str>, String> {
    println!("cargo::rerun-if-env-changed=PID_SANITIZE");
    // Absolute, as cargo takes it relative to the package, which is not everywhere where the sources are.
    let sources = std::path::absolute("kernels").map_err(|e| e.to_string())?;
    println!("cargo::rerun-if-changed={}", sources.display());
    match env::var("PID_SANITIZE").unwrap_or_default().as_str() {
        "" => Ok(None),
        "address" => Ok(Some("address")),
        "thread" => Ok(Some("thread")),
        other => Err(format!("PID_SANITIZE={other}: expected address or thread")),
    }
}

fn compiler() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").include("kernels").debug(false).extra_warnings(true).warnings(true);
    // Line numbers for messages and profilers; types and variables take a seventh of the time.
    for flag in ["-g1", "-fno-strict-aliasing", "-fstack-clash-protection", "-fno-omit-frame-pointer"] {
        build.flag_if_supported(flag);
    }
    build
}

/// Every `.cu` file two levels down but those of tests: for one architecture (in a folder with an `arch.txt`), and for all.
pub fn kernels_by_architecture() -> Result<(Vec<PathBuf>, Vec<PathBuf>), String> {
    let root = Path::new("kernels");
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| format!("{}: {e}", root.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() && path != Path::new(TESTS) {
            found.extend(files(&path, "cu")?);
        }
    }
    found.sort();
    let is_specific = |path: &PathBuf| path.parent().is_some_and(|folder| folder.join("arch.txt").is_file());
    Ok(found.into_iter().partition(is_specific))
}

/// Files of a folder with this extension, sorted.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
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
