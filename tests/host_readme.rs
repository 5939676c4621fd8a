//! The README and the map tell the truth: what they link to is there, what they say to run is what CI runs.

#![allow(clippy::unwrap_used)]

use std::path::Path;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Targets of `[text](target)` that are files of this repository.
fn links(text: &str) -> Vec<String> {
    let starts = text.match_indices("](").map(|(i, _)| i + 2);
    let targets = starts.filter_map(|i| text[i..].split(')').next());
    targets.filter(|t| !t.contains("://")).map(str::to_owned).collect()
}

#[test]
fn links_lead_somewhere() {
    let links = links(&read("README.md"));
    assert!(links.len() >= 4, "{links:?}");
    for link in links {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&link).exists(), "README.md links to {link}");
    }
}

/// Every `src/...`, `tests/...`, `tools/...` path in backquotes, braces and globs left out.
#[test]
fn the_map_names_what_exists() {
    let text = read("ARCHITECTURE.md");
    let quoted = text.split('`').skip(1).step_by(2);
    let is_path = |t: &&str| {
        ["src/", "tests/", "tools/", "benches/", "kernels/"].iter().any(|p| t.starts_with(p)) && !t.contains(['*', '{'])
    };
    let paths: Vec<&str> = quoted.filter(is_path).collect();
    assert!(paths.len() >= 15, "{paths:?}");
    for path in paths {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "ARCHITECTURE.md names {path}");
    }
}

/// Reasons of `#[ignore = "..."]`, with the name of the test that each stands before.
fn ignored(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            ignored(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("host_readme.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split("#[ignore = \"").skip(1) {
                let (reason, rest) = rest.split_once('"').unwrap();
                let name = rest.split_once("fn ").unwrap().1.split('(').next().unwrap();
                found.push((name.to_owned(), reason.to_owned()));
            }
        }
    }
}

/// What the README's command leaves out is counted there, and run by CI.
#[test]
fn ci_runs_the_readmes_tests() {
    let readme = read("README.md");
    assert!(readme.contains("cargo run --release -- demo") && readme.contains("cargo test --release"));
    assert!(read(".ci/run").contains("cargo test --locked --release -- --include-ignored --skip _full_\n"));

    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        ignored(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    let (full, slow): (Vec<_>, Vec<_>) = found.into_iter().partition(|(name, _)| name.contains("_full_"));
    assert!(full.iter().all(|(_, reason)| reason == "minutes on the emulator; for GPUs, or on request"), "{full:?}");
    assert!(slow.iter().all(|(_, reason)| reason == "slow: CI runs it"), "{slow:?}");
    let said = format!("leaves {} slow tests to CI", slow.len());
    assert!(readme.contains(&said), "README.md does not say: {said}");
}

#[test]
fn the_first_screen_has_a_table_and_the_first_command() {
    let readme = read("README.md");
    let first: Vec<&str> = readme.lines().take(40).collect();
    assert!(first.iter().any(|l| l.starts_with("|---")) && first.iter().any(|l| l.contains("cargo run --release")));
}
