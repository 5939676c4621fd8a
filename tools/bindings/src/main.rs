//! Writes the Rust twins of the kernels' parameter structs ([`TWINS`]); with `--check`, compares them instead.

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use bindgen::callbacks::{DeriveTrait, EnumVariantValue, ImplementsTrait, ParseCallbacks};
use bindgen::{Builder, EnumVariation, Formatter, RustEdition, RustTarget};
use similar::TextDiff;

/// A Rust file and the headers it is made of.
struct Twin {
    /// The first one names the file in messages.
    headers: &'static [&'static str],
    target: &'static str,
    /// What the headers define, as a pattern of file names.
    own: &'static str,
    /// Defined by the twin that `uses` names.
    foreign: Option<&'static str>,
    title: &'static str,
    uses: &'static str,
}

const TWINS: [Twin; 2] = [
    Twin {
        headers: &["kernels/params.h", "kernels/tensor_map.h"],
        target: "src/kernels/params.rs",
        own: ".*/kernels/(params|tensor_map)\\.h",
        foreign: None,
        title: "Parameter structs of the CUDA kernels.",
        uses: "",
    },
    Twin {
        headers: &["kernels/params_tests.h"],
        target: "tests/kernels/micro/params.rs",
        own: ".*/kernels/params_tests\\.h",
        foreign: Some(".*/kernels/(params|tensor_map)\\.h"),
        title: "Parameter structs of the kernels that test the intrinsics.",
        uses: "use pid_engine::kernels::params::PidTensorMap;\n",
    },
];

impl Twin {
    /// `dead_code`: some constants and variants are read by kernels only.
    fn header(&self) -> String {
        let Self { headers, title, uses, .. } = self;
        let sources = headers.iter().map(|header| format!("`{header}`")).collect::<Vec<_>>().join(" and ");
        format!(
            "//! {title}\n//!\n//! Generated from {sources} by `tools/check-bindings`: edit that, then run it.\n\n\
             #![allow(dead_code)]\n\n{uses}"
        )
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bindings: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => return Err("usage: tools/check-bindings [--check]".into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut stale = false;
    for twin in &TWINS {
        stale |= write_or_compare(&root, twin, check)?;
    }
    Ok(if stale { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether the committed file differs; without `check` it is written and does not.
fn write_or_compare(root: &Path, twin: &Twin, check: bool) -> Result<bool, Box<dyn Error>> {
    let made = generate(root, twin)?;
    let target = twin.target;
    let path = root.join(target);
    if !check {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, made).map_err(|error| format!("{target}: {error}"))?;
        return Ok(false);
    }
    let committed = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("{target}: {error}").into()),
    };
    if committed == made {
        return Ok(false);
    }
    let difference = TextDiff::from_lines(&committed, &made);
    print!("{}", difference.unified_diff().header(target, &format!("{target} (from {})", twin.headers[0])));
    eprintln!("{target} is stale: run tools/check-bindings");
    Ok(true)
}

/// The text of a twin.
fn generate(root: &Path, twin: &Twin) -> Result<String, Box<dyn Error>> {
    let folder = |path: &str| -> Result<String, Box<dyn Error>> {
        let path: PathBuf = root.join(path);
        Ok(path.to_str().ok_or("the path of the repository is not UTF-8")?.to_owned())
    };
    let include = folder("tools/bindings/include")?;
    // The layout is that of every 64-bit target that CUDA has; naming one makes the output the same on all of them.
    let clang =
        ["-std=c11", "-Wall", "-Werror", "--target=x86_64-unknown-linux-gnu", "-nostdinc", "-isystem", &include];
    let mut builder = Builder::default();
    for header in twin.headers {
        builder = builder.header(folder(header)?);
    }
    if let Some(foreign) = twin.foreign {
        builder = builder.blocklist_file(foreign);
    }
    let bindings = builder
        .clang_args(clang)
        .detect_include_paths(false)
        .allowlist_file(twin.own)
        .use_core()
        .rust_target(RustTarget::stable(89, 0).map_err(|error| error.to_string())?)
        .rust_edition(RustEdition::Edition2024)
        .default_enum_style(EnumVariation::Rust { non_exhaustive: false })
        .parse_callbacks(Box::new(Names))
        .disable_header_comment()
        .formatter(Formatter::Prettyplease)
        .generate()?;
    let items = bindings.to_string();
    if items.contains("_bindgen_ty_") {
        return Err(
            format!("{}: an enum or struct has no name (for a constant: `static const`)", twin.headers[0]).into()
        );
    }
    // bindgen's own call of rustfmt leaves `#[doc]` attributes: prettyplease makes doc comments of them first.
    rustfmt(root, &format!("{}\n{}", twin.header(), layout(&items)))
}

/// `items` with an empty line after each block, and with line comments only.
fn layout(items: &str) -> String {
    let mut text = String::new();
    let mut in_comment = false;
    for line in items.lines() {
        let mut line = line;
        if let Some(rest) = line.trim_start().strip_prefix("/**") {
            in_comment = true;
            line = rest;
        }
        if !in_comment {
            text += line;
            text += if line == "}" || line == "};" { "\n\n" } else { "\n" };
            continue;
        }
        if let Some(rest) = line.trim_end().strip_suffix("*/") {
            in_comment = false;
            line = rest;
        }
        text = text + "/// " + line.trim() + "\n";
    }
    text
}

/// `text` as `cargo fmt` has it.
fn rustfmt(root: &Path, text: &str) -> Result<String, Box<dyn Error>> {
    let mut child = Command::new(std::env::var_os("RUSTFMT").unwrap_or_else(|| "rustfmt".into()))
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("rustfmt: {error}"))?;
    // rustfmt reads all of its input before it writes.
    child.stdin.take().ok_or("rustfmt has no standard input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("rustfmt: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// `PID_ACTIVATION_GELU_TANH` of `enum PidActivation` is `PidActivation::GeluTanh`.
#[derive(Debug)]
struct Names;

impl ParseCallbacks for Names {
    fn enum_variant_name(&self, enum_name: Option<&str>, variant: &str, _: EnumVariantValue) -> Option<String> {
        let enum_name = enum_name?;
        let enum_name = enum_name.strip_prefix("enum ").unwrap_or(enum_name);
        let whole = camel_case(variant);
        let name = whole.strip_prefix(enum_name).unwrap_or(&whole);
        let named = name.starts_with(|first: char| first.is_ascii_alphabetic());
        Some(if named { name } else { &whole }.to_owned())
    }

    /// The types of another twin are plain data too.
    fn blocklisted_type_implements_trait(&self, _: &str, derived: DeriveTrait) -> Option<ImplementsTrait> {
        matches!(derived, DeriveTrait::Copy | DeriveTrait::Debug).then_some(ImplementsTrait::Yes)
    }

    /// bindgen leaves the mark of a comment that follows what it describes: `///<`, `//!<`.
    fn process_comment(&self, comment: &str) -> Option<String> {
        let unmarked = |line: &str| {
            let text = line.trim_start();
            match text.strip_prefix("!<").or_else(|| text.strip_prefix('<')) {
                // rustdoc's own comments have a space first.
                Some(rest) => format!(" {}", rest.trim_start()),
                None => line.to_owned(),
            }
        };
        Some(comment.lines().map(unmarked).collect::<Vec<_>>().join("\n"))
    }
}

fn camel_case(name: &str) -> String {
    let capitalised = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
    };
    name.split('_').map(capitalised).collect()
}
