//! No intrinsic without a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Device functions that no kernel may call: the intrinsics beside them are made of these.
const INTERNAL: [&str; 2] = ["smem_address", "wgmma_pin"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Text of all files of a folder whose names end so.
fn texts(name: &str, ending: &str) -> String {
    let files = fs::read_dir(folder(name))
        .expect("the folder is in the repository")
        .filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.to_string_lossy().ends_with(ending)).map(|path| read(&path)).collect()
}

/// The last word before the first parenthesis after `start`.
fn function_after(line: &str, start: &str) -> Option<String> {
    let (before, _) = line.split_once(start)?.1.split_once('(')?;
    before.split(|c: char| !c.is_alphanumeric() && c != '_').next_back().map(str::to_owned)
}

fn names(headers: &[&str], start: &str) -> BTreeSet<String> {
    let texts = headers.iter().map(|header| read(&folder("intrinsics").join(header))).collect::<String>();
    let code = texts.lines().filter(|line| !line.trim_start().starts_with("//") && !line.starts_with('#'));
    code.filter_map(|line| function_after(line, start)).filter(|name| !name.is_empty()).collect()
}

/// Whether `text` calls the function, with template arguments or without.
fn calls(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_') && matches!(after, Some('(' | '<'))
    })
}

#[test]
fn every_intrinsic_has_a_host_twin_and_a_micro_test() {
    // wgmma_device.cuh has no function that a kernel calls: wgmma_m64nNk16_bf16 stands before it.
    let device = names(&["device.cuh", "hopper_device.cuh"], "PID_DEVICE ");
    assert!(device.len() > 50 && device.contains("stmatrix_x4") && device.contains("syncthreads"), "{device:?}");
    let host = names(&["host.cuh", "hopper_host.cuh"], "inline ");
    let kernels = texts("tests", ".cu");
    for name in device.iter().filter(|name| !INTERNAL.contains(&name.as_str())) {
        assert!(host.contains(name), "{name}: no host twin");
        assert!(calls(&kernels, name), "{name}: no kernel in kernels/tests calls it");
    }
    for name in INTERNAL {
        assert!(device.contains(name) && !host.contains(name), "{name}: not internal to the device's headers");
    }
}

#[test]
fn every_micro_kernel_has_a_test() {
    let tests = texts("../tests/kernels/micro", ".rs");
    let kernels = pid_engine::backend::emulator::Emulator::kernels();
    let micro: Vec<&str> =
        kernels.iter().map(|kernel| kernel.entry.name).filter(|name| name.starts_with("micro_")).collect();
    assert!(micro.len() > 50, "{micro:?}");
    for name in micro {
        // The names of wgmma's are made of its sizes and layouts.
        let made = name.starts_with("micro_wgmma_") && name.contains("_n");
        assert!(made || tests.contains(&format!("\"{name}\"")), "{name}: no test runs it");
    }
}
