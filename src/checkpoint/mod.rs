//! Checkpoints: named tensors from a safetensors file, an official `.pth`, or made up (`synthetic`).
//!
//! Files are memory-mapped and never copied (what comes through a pipe is in memory already); no size in a file is
//! trusted before the bytes are known to exist, and nothing in a file is executed.

mod detect;
mod error;
mod file_bytes;
mod network;
pub(crate) mod pth;
mod read;
pub mod synthetic;
pub mod tensor;
mod write;

pub use error::{CheckpointError, Mismatch};
pub(crate) use file_bytes::FileBytes;
pub use tensor::{DType, TensorView};
pub use write::convert;
pub(crate) use write::stage_tensor;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::backend::cpu::TensorSource;
use crate::model::Config;
use crate::progress::Progress;

/// What a checkpoint was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A safetensors file.
    Safetensors,
    /// A zip archive written by `torch.save`.
    Pth,
    /// Made in memory.
    Synthetic,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Pth => "pth",
            Self::Synthetic => "synthetic",
        })
    }
}

/// Where a tensor's bytes are.
#[derive(Clone, Debug)]
enum Bytes {
    /// In the mapped file.
    Mapped(Range<usize>),
    /// Copied (strided views) or made.
    Owned(Arc<Vec<u8>>),
}

#[derive(Clone, Debug)]
struct Entry {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// Named tensors. `Send + Sync`; tensors are borrowed from it.
pub struct Checkpoint {
    path: Option<PathBuf>,
    format: Format,
    map: Option<FileBytes>,
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    fingerprint: OnceLock<String>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({:?}, {}, {} tensors)", self.path, self.format, self.tensors.len())
    }
}

impl Checkpoint {
    /// Opens a safetensors file or a `.pth` archive, told apart by content; names and tensors as stored.
    ///
    /// # Errors
    /// When the file cannot be read, is neither, or is damaged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        read::open(path)
    }

    /// As [`Self::open`], but of contents that were read already; `path` is what messages name.
    pub(crate) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        read::from_bytes(path, FileBytes::Read(bytes))
    }

    /// The synthetic checkpoint of `config` and `seed`, in memory, bf16 (see [`synthetic`]).
    pub fn synthetic(config: &Config, seed: u64, progress: &dyn Progress) -> Self {
        synthetic::in_memory(config, seed, progress)
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        let entry = self.tensors.get(name)?;
        let bytes = match (&entry.bytes, &self.map) {
            (Bytes::Owned(bytes), _) => bytes.as_slice(),
            (Bytes::Mapped(range), Some(map)) => &map[range.clone()],
            (Bytes::Mapped(_), None) => return None,
        };
        Some(TensorView { dtype: entry.dtype, shape: &entry.shape, bytes })
    }

    /// The file's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What it was read from.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The file, for messages.
    fn shown(&self) -> String {
        self.path.as_ref().map_or_else(|| "synthetic checkpoint".to_owned(), |p| p.display().to_string())
    }

    /// 16 hexadecimal digits that identify names, types, shapes and bytes; computed once, reading everything.
    pub fn fingerprint(&self) -> String {
        self.fingerprint.get_or_init(|| self.hash()).clone()
    }

    fn hash(&self) -> String {
        let names: Vec<&str> = self.names().collect();
        let hashes: Vec<blake3::Hash> = names
            .par_iter()
            .filter_map(|name| {
                let view = self.get(name)?;
                let mut hasher = blake3::Hasher::new();
                hasher.update(format!("{name} {} {:?}\n", view.dtype, view.shape).as_bytes());
                hasher.update_rayon(view.bytes);
                Some(hasher.finalize())
            })
            .collect();
        let mut whole = blake3::Hasher::new();
        for hash in hashes {
            whole.update(hash.as_bytes());
        }
        whole.finalize().to_hex().as_str().chars().take(16).collect()
    }
}

impl TensorSource for Checkpoint {
    fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.get(name)
    }
}
