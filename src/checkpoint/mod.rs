//! Checkpoints: named tensors from a safetensors file (or several, by their index), a `.pth`, or made up (`synthetic`).
//!
//! Files are memory-mapped and never copied; no size in a file is trusted before the bytes are known to exist,
//! and nothing in a file is executed. A [`Checkpoint`] as opened holds what the file holds;
//! [`Checkpoint::into_network`] finds the network in it.

mod detect;
mod error;
mod file_bytes;
mod halves;
mod header;
mod network;
pub(crate) mod pth;
mod quantised;
mod read;
mod select;
mod shards;
pub mod synthetic;
mod teacher;
mod write;

pub use crate::weights::{Coding, DType, TensorView};
pub use error::{CheckpointError, Mismatch};
pub(crate) use file_bytes::FileBytes;
pub use write::convert;
pub(crate) use write::stage_tensor;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use half::bf16;
use rayon::prelude::*;

use crate::models::pid::Config;
use crate::progress::Progress;
use crate::weights::TensorSource;

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

/// What of a checkpoint is taken where it leaves a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Key or prefix of the network to take, in a file that holds several: `ema`, `model`, `net.`.
    pub weights: Option<String>,
    /// The network is a distilled student, whatever its name says.
    pub student: bool,
}

/// Where a tensor's bytes are.
#[derive(Clone, Debug)]
enum Bytes {
    /// In the file of that number.
    Mapped(usize, Range<usize>),
    /// Copied (strided views) or made.
    Owned(Arc<Vec<u8>>),
}

#[derive(Clone, Debug)]
struct Entry {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Bytes,
    /// How stored elements stand for values; `None` where they are the values.
    coding: Option<Arc<StoredCoding>>,
}

impl Entry {
    fn plain(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Self {
        Self { dtype, shape, bytes, coding: None }
    }
}

/// What a [`Coding`] is made of.
#[derive(Clone, Debug)]
struct StoredCoding {
    layout: crate::weights::Layout,
    scales: Option<Entry>,
}

/// Named tensors. `Send + Sync`; tensors are borrowed from it.
pub struct Checkpoint {
    path: Option<PathBuf>,
    format: Format,
    /// The files, which tensors are in by number.
    sources: Vec<FileBytes>,
    tensors: BTreeMap<String, Entry>,
    /// Keys of a `.pth` around the only container that holds tensors.
    container: String,
    metadata: BTreeMap<String, String>,
    options: OpenOptions,
    warnings: Vec<String>,
    /// How its weights are quantised, and how many in each way.
    quantisation: BTreeMap<String, usize>,
    fingerprint: OnceLock<String>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({:?}, {}, {} tensors)", self.path, self.format, self.tensors.len())
    }
}

impl Checkpoint {
    /// Opens a safetensors file, a `.pth` archive or the index of shards, told apart by content; names and tensors as
    /// stored.
    ///
    /// # Errors
    /// When the file cannot be read, is none of those (the error names what it is), or is damaged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// As [`Self::open`], with what to take where the file leaves a choice; [`Self::into_network`] heeds it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self, CheckpointError> {
        Ok(Self { options: options.clone(), ..read::open(path)? })
    }

    /// As [`Self::open`], but of contents that were read already; `path` is what messages name. An index is refused, for
    /// its shards are files.
    pub(crate) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        read::from_bytes(path, FileBytes::Read(bytes))
    }

    /// A checkpoint of nothing yet.
    fn empty(path: Option<&Path>, format: Format) -> Self {
        Self {
            path: path.map(Path::to_path_buf),
            format,
            sources: Vec::new(),
            tensors: BTreeMap::new(),
            container: String::new(),
            metadata: BTreeMap::new(),
            options: OpenOptions::default(),
            warnings: Vec::new(),
            quantisation: BTreeMap::new(),
            fingerprint: OnceLock::new(),
        }
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
        let coding = match &entry.coding {
            Some(coding) => Some(self.coding(coding)?),
            None => None,
        };
        Some(TensorView { dtype: entry.dtype, shape: &entry.shape, bytes: self.bytes(entry)?, coding })
    }

    fn bytes<'a>(&'a self, entry: &'a Entry) -> Option<&'a [u8]> {
        match &entry.bytes {
            Bytes::Owned(bytes) => Some(bytes),
            Bytes::Mapped(source, range) => self.sources.get(*source)?.get(range.clone()),
        }
    }

    fn coding<'a>(&'a self, coding: &'a StoredCoding) -> Option<Coding<'a>> {
        let (scale_dtype, scales) = match &coding.scales {
            Some(entry) => (entry.dtype, self.bytes(entry)?),
            None => (DType::F32, &[][..]),
        };
        Some(Coding { layout: coding.layout, scale_dtype, scales })
    }

    /// The file's metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What it was read from.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What was found that the one who decodes should know.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How the network's weights are quantised, and how many tensors in each way; empty for a network of plain numbers and
    /// before [`Self::into_network`].
    pub fn quantisation(&self) -> &BTreeMap<String, usize> {
        &self.quantisation
    }

    /// The file, for messages.
    fn shown(&self) -> String {
        self.path.as_ref().map_or_else(|| "synthetic checkpoint".to_owned(), |p| p.display().to_string())
    }

    /// 16 hexadecimal digits that identify names, types, shapes and bytes; computed once, reading everything. Quantised
    /// tensors count as the bf16 ones that they stand for.
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
                hasher.update(format!("{name} {} {:?}\n", view.value_dtype(), view.shape).as_bytes());
                if view.coding.is_none() {
                    hasher.update_rayon(view.bytes);
                } else {
                    let mut update = |bytes: &[u8]| {
                        hasher.update(bytes);
                        Ok(())
                    };
                    for_each_bf16(&view, &mut update).ok()?;
                }
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

/// Values of a tensor made at a time.
const CHUNK: usize = 1 << 16;

/// Hands over the bytes of the bf16 tensor that a quantised one stands for, piece by piece.
fn for_each_bf16(view: &TensorView<'_>, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut values = vec![0.0f32; CHUNK];
    let mut bytes = Vec::with_capacity(2 * CHUNK);
    for start in (0..view.len()).step_by(CHUNK) {
        let values = &mut values[..CHUNK.min(view.len() - start)];
        view.widen(start, values);
        bytes.clear();
        bytes.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
        each(&bytes)?;
    }
    Ok(())
}
