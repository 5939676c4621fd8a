//! `src/kernels/table.rs` is what the kernels declare of themselves (`kernels/entry.h`): it is made of the emulator's
//! registry. `PID_UPDATE=1 cargo test --release --test kernel_table` writes it.

#![allow(clippy::unwrap_used)]
#![cfg(feature = "emulator")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pid_engine::backend::emulator::Emulator;
use pid_engine::kernels::Entry;
use pid_engine::kernels::table::ENTRIES;

const TABLE: &str = "src/kernels/table.rs";

/// Of every kernel but those of tests and faulty copies, by family and op.
fn declared() -> Vec<Entry> {
    let own = Emulator::kernels().iter().filter(|k| k.fault_of.is_none() && k.entry.family != "tests");
    let mut entries: Vec<Entry> = own.map(|kernel| kernel.entry).collect();
    entries.sort_by_key(|entry| (entry.family, entry.op, entry.name));
    entries
}

/// As `cargo fmt` has it.
fn formatted(text: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path", root])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

fn table(entries: &[Entry]) -> String {
    let mut text = "//! What the kernels declare of themselves.\n//!\n//! Generated from the entries of `kernels/*/*.cu` \
                    (`kernels/entry.h`) by `tests/kernel_table.rs`: edit those, then run\n//! `PID_UPDATE=1 cargo test \
                    --release --test kernel_table`.\n\nuse super::capabilities::Capability::*;\nuse \
                    super::entry::{Entry, OperandFormat};\nuse crate::weights::RowOrder;\n\n/// All kernels, by family and \
                    op.\n#[rustfmt::skip]\npub static ENTRIES: &[Entry] = &[\n"
        .to_owned();
    for entry in entries {
        let Entry { name, op, family, tile, grid_tile, store_box, stages, threads, min_blocks, .. } = entry;
        let Entry { cluster, shared_bytes, registers, needs, operands, order, .. } = entry;
        let Entry { n_multiple, k_multiple, ping_pong, .. } = entry;
        text += &format!(
            "    Entry {{ name: {name:?}, op: {op:?}, family: {family:?},\n        tile: {tile:?}, grid_tile: \
             {grid_tile:?}, store_box: {store_box:?}, stages: {stages},\n        threads: {threads}, min_blocks: \
             {min_blocks}, cluster: {cluster}, shared_bytes: {shared_bytes}, registers: {registers:?},\n        needs: \
             &{needs:?}, operands: OperandFormat::{operands:?}, order: RowOrder::{order:?},\n        n_multiple: \
             {n_multiple}, k_multiple: {k_multiple}, ping_pong: {ping_pong} }},\n"
        );
    }
    text + "];\n"
}

#[test]
fn the_table_is_what_the_kernels_declare() {
    let declared = declared();
    if std::env::var_os("PID_UPDATE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
        std::fs::write(path, formatted(&table(&declared))).unwrap();
        return;
    }
    for entry in &declared {
        assert_eq!(Entry::find(entry.name), Some(entry), "{TABLE} is stale: run this test with PID_UPDATE=1");
    }
    assert_eq!(ENTRIES.len(), declared.len(), "{TABLE} is stale: run this test with PID_UPDATE=1");
}

/// What the host's C++ compiler says of an epilogue with `members`, checked as `checked`.
fn compiled(checked: &str, members: &str) -> Result<(), String> {
    let source = format!(
        "#include \"gemm/epilogue.cuh\"\nstruct Own : PlainEpilogue {{ {members} }};\nstatic_assert({checked}<Own>::value, \
         \"\");\n"
    );
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut child = Command::new(compiler)
        .args(["-std=c++17", "-fsyntax-only", "-xc++", "-I", "kernels", "-"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The compiler names what an epilogue lacks, rather than the line of a loop deep inside.
#[test]
fn what_an_epilogue_lacks_is_named() {
    const ROW: &str = "void row(const RowBlock&, const Fetched&, float (&)[16]) const {} ";
    const PACK: &str = "static constexpr int kPackedWords = 8; \
                        void pack(const RowBlock&, const Fetched&, float (&)[16], std::uint32_t (&)[8]) const {} ";
    const BOX: &str = "BoxPlace box(std::uint32_t, std::uint32_t) const { return {}; }";
    assert_eq!(compiled("CheckedEpilogue", ROW), Ok(()));
    assert_eq!(compiled("CheckedBoxesEpilogue", &[ROW, PACK, BOX].concat()), Ok(()));
    for (checked, members, words) in [
        ("CheckedEpilogue", "", "an epilogue needs row(const RowBlock&"),
        (
            "CheckedEpilogue",
            "void row(int, const RowBlock&, float (&)[16]) const {}",
            "an epilogue needs row(const RowBlock&",
        ),
        ("CheckedEpilogue", &[ROW, "void fetch() const {}"].concat(), "an epilogue needs fetch(const RowBlock&)"),
        ("CheckedBoxesEpilogue", &[ROW, BOX].concat(), "needs kPackedWords"),
        ("CheckedBoxesEpilogue", &[ROW, PACK].concat(), "needs box(segment, column)"),
        ("CheckedStagedEpilogue", ROW, "needs a type Op"),
    ] {
        let error = compiled(checked, members).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}

/// Kernels know nothing of what runs them: a backend is a `Target` to them.
#[test]
fn kernels_import_no_backend() {
    fn check(folder: &Path, count: &mut usize) {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                check(&path, count);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(!text.contains("crate::backend"), "{}: it imports a backend", path.display());
                *count += 1;
            }
        }
    }
    let mut count = 0;
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels"), &mut count);
    assert!(count > 20, "{count} files");
}

/// A kernel's file begins with what a reader asks first.
#[test]
fn every_kernel_file_says_how_it_is_launched_and_where_it_comes_from() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut count = 0;
    for folder in ["attention", "conv", "gemm", "pixel", "rows", "sampler", "sm90"] {
        for path in std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|extension| extension != "cu") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let head: String = text.lines().take_while(|line| line.starts_with("//")).collect();
            for word in ["grid", "block", "source: "] {
                assert!(head.contains(word), "{}: its head says nothing of `{word}`", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count} files");
}
