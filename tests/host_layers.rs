//! Imports run one way, downwards in ARCHITECTURE.md's table, and what lies below the networks knows none of them.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rooms of `src`, from the table's first row on: folders and files without their ending.
fn rooms() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let table = text.split_once("| folder |").unwrap().1.split_once("\n\n").unwrap().0;
    let of_row = |row: &str| -> Vec<String> {
        let cell = row.split('|').nth(1).unwrap_or_default();
        let names = cell.split('`').skip(1).step_by(2).filter_map(|name| name.strip_prefix("src/"));
        names.map(|name| name.trim_end_matches('/').trim_end_matches(".rs").to_owned()).collect()
    };
    table.lines().map(of_row).filter(|rooms| !rooms.is_empty()).collect()
}

/// Every Rust file of `folder`, by path.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// A file's code, without comments and without its tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// First names after `crate::`, those of `use crate::{..}` one by one.
fn imports(code: &str) -> Vec<String> {
    let first = |path: &str| -> String { path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    if depth == 0 && start && c.is_alphabetic() {
                        found.push(first(&list[at..]));
                        start = false;
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ => {}
                    }
                }
            }
            None => found.push(first(rest)),
        }
    }
    found
}

fn sources() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let src = root().join("src");
    files(&src, &mut found);
    let room = |path: &PathBuf| {
        let within = path.strip_prefix(&src).unwrap();
        let first = within.components().next().unwrap().as_os_str().to_string_lossy();
        first.trim_end_matches(".rs").to_owned()
    };
    let is_test = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == "tests");
    found.into_iter().filter(|path| !is_test(path)).map(|path| (room(&path), path)).collect()
}

#[test]
fn imports_run_downwards() {
    let rooms = rooms();
    let level = |name: &str| rooms.iter().position(|row| row.iter().any(|room| room == name));
    let mut arrows = 0;
    let mut upward = Vec::new();
    for (room, path) in sources() {
        if ["lib", "bin"].contains(&&*room) {
            continue;
        }
        let own = level(&room).unwrap_or_else(|| panic!("{room} is not in ARCHITECTURE.md's table"));
        for import in imports(&code(&path)) {
            // What the root of the crate names again.
            let import = match import.as_str() {
                "Error" => "error".to_owned(),
                "Device" => "device".to_owned(),
                "Decoder" | "DecoderBuilder" | "Decoded" | "Request" | "Timings" => "decoder".to_owned(),
                _ => import,
            };
            if import == room {
                continue;
            }
            let target = level(&import).unwrap_or_else(|| panic!("{}: crate::{import}?", path.display()));
            arrows += 1;
            if target <= own {
                upward.push(format!("{}: {import}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(arrows > 300, "{arrows}: imports are not found");
    assert!(upward.is_empty(), "imports that run upwards in ARCHITECTURE.md's table:\n{}", upward.join("\n"));
}

#[test]
fn nested_imports_are_found() {
    let code = "use crate::{a::{self, b}, c::d};\nuse crate::e::f;\nlet x = crate::g::h();\n";
    assert_eq!(imports(code), ["a", "c", "e", "g"]);
}

/// Words of PiD's own parts.
#[test]
fn rooms_below_the_networks_know_none() {
    const WORDS: [&str; 11] = [
        "latent",
        "caption",
        "sigma",
        "patch_block",
        "pixel_block",
        "lq_",
        "pit_",
        "t_emb",
        "timeconst",
        "config",
        "pid_net",
    ];
    let below = ["graph", "plan", "exec", "backend"];
    let mut found = Vec::new();
    for (room, path) in sources().into_iter().filter(|(room, _)| below.contains(&&**room)) {
        for line in code(&path).lines() {
            let lower = line.to_lowercase();
            let known = WORDS.iter().filter(|word| lower.contains(**word) && !lower.contains("#[cfg"));
            found.extend(known.map(|word| format!("{room}: {}: {word}: {}", path.display(), line.trim())));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
