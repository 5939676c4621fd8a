//! What was measured on one device: which variant of a kernel is the fastest for each shape, as a small JSON file.
//!
//! `pid bench --tune` writes it (`crate::bench`), decodes read it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::OpShape;
use super::family::{FAMILIES, Variants};
use crate::output::{OutputError, write_atomic};

/// Of the file's fields and their meaning.
const VERSION: u32 = 1;
/// Says that a file is a table of these.
const FORMAT: &str = "pid-engine tuning";

/// Where a decoder finds the table of its device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TuningFile {
    /// Nowhere: every kernel is the default one.
    #[default]
    None,
    /// Where [`default_path`] says, if there is one.
    Cached,
    /// In this file.
    At(PathBuf),
}

/// A device's choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    device: String,
    choices: BTreeMap<OpShape, &'static str>,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("tuning table {path}: {reason}")]
pub struct TuningError {
    path: String,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("{0}")]
    Read(std::io::Error),
    #[error("not a table that `pid bench --tune` wrote: {0}")]
    Foreign(String),
    #[error("of version {0}, this build reads version {VERSION}: tune again")]
    Version(u64),
    #[error("of device `{found}`, this is `{expected}`")]
    Device { found: String, expected: String },
    #[error("this build has no {0}: tune again")]
    Kernel(String),
    #[error("no cache folder is known (neither XDG_CACHE_HOME nor HOME is set): name a file with --tuning")]
    NoCache,
    #[error(transparent)]
    Write(#[from] OutputError),
}

impl TuningError {
    fn new(path: &Path, reason: impl Into<Reason>) -> Self {
        Self { path: path.display().to_string(), reason: reason.into() }
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    version: u32,
    device: String,
    choices: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    kernel: String,
    rows: u32,
    n: u32,
    k: u32,
    variant: String,
}

/// A device's name without its number: two of a kind have the same.
pub(crate) fn kind(device: &str) -> &str {
    device.split(" (cuda:").next().unwrap_or(device)
}

/// `pid-engine/tuning-DEVICE.json` in the user's cache folder: `$XDG_CACHE_HOME`, else `$HOME/.cache`; `None` without both.
pub fn default_path(device: &str) -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = kind(device).chars().map(safe).collect();
    Some(cache.join("pid-engine").join(format!("tuning-{name}.json")))
}

impl TuningFile {
    /// The file of `device`; `None` for [`TuningFile::None`].
    ///
    /// # Errors
    /// When no cache folder is known.
    pub fn path(&self, device: &str) -> Result<Option<PathBuf>, TuningError> {
        match self {
            Self::None => Ok(None),
            Self::At(path) => Ok(Some(path.clone())),
            Self::Cached => match default_path(device) {
                Some(path) => Ok(Some(path)),
                None => Err(TuningError::new(Path::new("of the user's cache"), Reason::NoCache)),
            },
        }
    }

    /// The table of `device`; `None` where there is none and none was named.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn read(&self, device: &str) -> Result<Option<Tuning>, TuningError> {
        match self {
            Self::None => Ok(None),
            Self::At(path) => Tuning::read(path, device).map(Some),
            // Nowhere to look is as good as nothing there.
            Self::Cached => match default_path(device).filter(|path| path.exists()) {
                Some(path) => Tuning::read(&path, device).map(Some),
                None => Ok(None),
            },
        }
    }
}

impl Tuning {
    /// Nothing measured yet.
    pub fn new(device: &str) -> Self {
        Self { device: kind(device).into(), choices: BTreeMap::new() }
    }

    /// Reads the table of `device` from `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is none of these, or is of another version, device or build.
    pub fn read(path: &Path, device: &str) -> Result<Self, TuningError> {
        let failed = |reason| TuningError::new(path, reason);
        let text = std::fs::read_to_string(path).map_err(|e| failed(Reason::Read(e)))?;
        Self::parse(&text, device).map_err(failed)
    }

    fn parse(text: &str, device: &str) -> Result<Self, Reason> {
        let foreign = |e: serde_json::Error| Reason::Foreign(e.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(foreign)?;
        if value["format"] != FORMAT {
            return Err(Reason::Foreign(format!("it does not say `\"format\": \"{FORMAT}\"`")));
        }
        let version = value["version"].as_u64().ok_or_else(|| Reason::Foreign("it has no version".into()))?;
        if version != u64::from(VERSION) {
            return Err(Reason::Version(version));
        }
        let file: File = serde_json::from_value(value).map_err(foreign)?;
        let expected = kind(device);
        if file.device != expected {
            return Err(Reason::Device { found: file.device, expected: expected.into() });
        }
        let mut tuning = Self::new(device);
        for Line { kernel, rows, n, k, variant } in file.choices {
            let of_op: Vec<&Variants> = FAMILIES.iter().filter_map(|family| family.of(&kernel)).collect();
            let op = of_op.first().map(|variants| variants.op).ok_or(Reason::Kernel(kernel))?;
            let entry = of_op.iter().find_map(|variants| variants.find(&variant)).ok_or(Reason::Kernel(variant))?;
            tuning.choices.insert(OpShape { op, rows, n, k }, entry.name);
        }
        Ok(tuning)
    }

    /// The table at `path` to add to; an empty one where there is none, or an old one that is of no use any more.
    ///
    /// # Errors
    /// When the file is another device's, or not a table at all: it is not for us to overwrite.
    pub fn read_to_extend(path: &Path, device: &str) -> Result<Self, TuningError> {
        match Self::read(path, device) {
            Err(TuningError { reason: Reason::Read(e), .. }) if e.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::new(device))
            }
            Err(TuningError { reason: Reason::Version(_) | Reason::Kernel(_), .. }) => Ok(Self::new(device)),
            other => other,
        }
    }

    /// Writes the table, whole or not at all; makes the folder.
    ///
    /// # Errors
    /// When the folder cannot be made, or the file not be written.
    pub fn write(&self, path: &Path) -> Result<(), TuningError> {
        let choice = |(call, variant): (&OpShape, &&'static str)| Line {
            kernel: call.op.into(),
            rows: call.rows,
            n: call.n,
            k: call.k,
            variant: (*variant).into(),
        };
        let choices = self.choices.iter().map(choice).collect();
        let file = File { format: FORMAT.into(), version: VERSION, device: self.device.clone(), choices };
        let failed = |reason| TuningError::new(path, reason);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| failed(Reason::Read(e)))?;
        }
        let written = write_atomic(path, |out| {
            serde_json::to_writer_pretty(&mut *out, &file)?;
            out.write_all(b"\n")
        });
        written.map_err(|e| failed(e.into()))
    }

    /// The fastest kernel for `call`, where it was measured.
    pub fn kernel(&self, call: &OpShape) -> Option<&'static str> {
        self.choices.get(call).copied()
    }

    /// Takes `kernel` for `call` from now on.
    pub(crate) fn choose(&mut self, call: OpShape, kernel: &'static str) {
        self.choices.insert(call, kernel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H100: &str = "NVIDIA H100 (cuda:1)";

    fn table() -> Tuning {
        let mut table = Tuning::new(H100);
        let call = OpShape { op: "gemm_linear", rows: 300, n: 1152, k: 4096 };
        table.choose(call, "gemm_linear_128x256_sm90");
        table.choose(OpShape { rows: 4096, ..call }, "gemm_linear_128x128_pingpong_sm90");
        table
    }

    #[test]
    fn a_table_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/t.json");
        table().write(&path).unwrap();
        // Another GPU of the kind.
        let read = Tuning::read(&path, "NVIDIA H100 (cuda:0)").unwrap();
        assert_eq!(read, table());
        let call = OpShape { op: "gemm_linear", rows: 300, n: 1152, k: 4096 };
        assert_eq!(read.kernel(&call), Some("gemm_linear_128x256_sm90"));
        assert_eq!(read.kernel(&OpShape { k: 64, ..call }), None);
        assert_eq!(TuningFile::At(path).read(H100).unwrap(), Some(table()));
        assert_eq!(TuningFile::None.read(H100).unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        table().write(&path).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let cases = [
            (good.replace("\"version\": 1", "\"version\": 2"), "version 2, this build reads version 1"),
            (good.replace("NVIDIA H100", "NVIDIA H200"), "of device `NVIDIA H200`, this is `NVIDIA H100`"),
            (good.replace("\"gemm_linear\"", "\"gemm_square\""), "no gemm_square"),
            (good.replace("128x256_sm90", "512x512_sm90"), "no gemm_linear_512x512_sm90"),
            (good.replace("\"rows\": 300", "\"rows\": -1"), "not a table"),
            (good.replace(FORMAT, "other"), "not a table"),
            (good[..good.len() / 2].to_owned(), "not a table"),
            ("[1]".to_owned(), "not a table"),
        ];
        for (text, words) in cases {
            std::fs::write(&path, &text).unwrap();
            let error = Tuning::read(&path, H100).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("t.json"), "{error}");
            // What is ours and out of date makes room for a new one; everything else stays.
            let extended = Tuning::read_to_extend(&path, H100);
            let is_stale = words.contains("version") || words.starts_with("no ");
            assert_eq!(extended.ok(), is_stale.then(|| Tuning::new(H100)), "{words}");
        }
        let absent = folder.path().join("absent.json");
        assert!(Tuning::read(&absent, H100).unwrap_err().to_string().contains("absent.json"));
        assert_eq!(Tuning::read_to_extend(&absent, H100).unwrap(), Tuning::new(H100));
    }
}
