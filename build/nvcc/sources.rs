//! The kernel files and, for each, the text of all that it includes from `kernels/`.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

/// Folders of `kernels/` that hold no kernels.
const OTHER_FOLDERS: [&str; 2] = ["intrinsics", "emulator"];

/// The folder of `kernels/` whose kernels are for tests alone.
const TEST_FOLDER: &str = "tests";

/// Names the one architecture (`90a`) that a folder's kernels are for.
pub const ARCH_FILE: &str = "arch.txt";

/// A `.cu` file.
pub struct Source {
    pub path: PathBuf,
    /// File name without `.cu`: the name of its cubins, unique among all folders.
    pub stem: String,
    /// Name and text of the file and of every header it reaches: what its cubins are made of.
    pub text: String,
    /// Whether only tests launch its kernels.
    pub is_test: bool,
    /// The one architecture that it is for, `90a`; `None`: all.
    pub arch: Option<String>,
}

/// All `root/*/*.cu`, in the order of their paths.
pub fn all(root: &Path) -> Result<Vec<Source>, String> {
    let mut sources: Vec<Source> = Vec::new();
    for folder in entries(root)?.into_iter().filter(|path| path.is_dir()) {
        if folder.file_name().is_some_and(|name| OTHER_FOLDERS.iter().any(|other| name == *other)) {
            continue;
        }
        let is_test = folder.file_name().is_some_and(|name| name == TEST_FOLDER);
        let arch = fs::read_to_string(folder.join(ARCH_FILE)).ok().map(|text| text.trim().to_owned());
        for path in entries(&folder)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "cu")) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(other) = sources.iter().find(|other| other.stem == stem) {
                let (path, other) = (path.display(), other.path.display());
                return Err(format!("{path}: {other} has the same name, and cubins are found by it"));
            }
            let mut text = String::new();
            collect(root, &path, &mut BTreeSet::new(), &mut text)?;
            sources.push(Source { path, stem, text, is_test, arch: arch.clone() });
        }
    }
    Ok(sources)
}

/// A name for a set of inputs: equal for equal inputs, also in a later run of the same build of this script.
pub fn key(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write(&part.len().to_le_bytes());
        hasher.write(part.as_bytes());
    }
    format!("{:016x}", hasher.finish())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// Appends name and text of `path`, then those of its includes, each file once. Headers that are neither beside the
/// including file nor under `root` belong to the compiler, whose version is part of the key.
fn collect(root: &Path, path: &Path, seen: &mut BTreeSet<PathBuf>, text: &mut String) -> Result<(), String> {
    let canonical = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    if !seen.insert(canonical) {
        return Ok(());
    }
    let own = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.push_str(&format!("== {}\n{own}\n", path.display()));
    for name in own.lines().filter_map(included) {
        let beside = path.parent().unwrap_or(root).join(name);
        if let Some(header) = [beside, root.join(name)].into_iter().find(|header| header.is_file()) {
            collect(root, &header, seen, text)?;
        }
    }
    Ok(())
}

/// The name in an `#include` line, in quotes or in angle brackets.
fn included(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?.trim_start();
    let close = match rest.chars().next()? {
        '"' => '"',
        '<' => '>',
        _ => return None,
    };
    rest[1..].split_once(close).map(|(name, _)| name)
}
