//! Checkpoints written by `torch.save`: a zip archive with a pickle of the structure and one uncompressed
//! entry per storage.
//!
//! The pickle is read by an interpreter ([`unpickle`]) that knows tensors and containers and nothing else: a
//! name outside a short list is an error, and nothing is ever called. Contiguous tensors stay in the mapped
//! file; strided views are copied. Sizes are checked against the bytes that exist before anything is allocated.
//! Tensors are found in any containers, or bare, and called by the keys down to them.

mod containers;
mod globals;
mod rebuild;
mod unpickle;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::DType;

/// Why a `.pth` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PthError {
    #[error("damaged or truncated archive ({0}); copy or download it again")]
    Archive(String),
    #[error("the archive has no {0}: it was not written by torch.save")]
    Missing(&'static str),
    #[error("it was saved on a big-endian machine; save it again on a little-endian one")]
    BigEndian,
    #[error("damaged pickle at byte {at}: {message}")]
    Pickle { at: usize, message: String },
    #[error(
        "it names `{0}`, which is neither a tensor nor a container; nothing was executed. Save the bare state dict: torch.save(model.state_dict(), path)"
    )]
    Global(String),
    #[error("tensor {name}: {message}")]
    Tensor { name: String, message: String },
    #[error("two of its tensors have the name {0}")]
    Ambiguous(String),
    #[error("its containers have keys too long for names of tensors: {}...", .0.chars().take(40).collect::<String>())]
    LongKey(String),
    #[error("it holds no tensors")]
    NoTensors,
}

/// A tensor of the archive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PthTensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub storage: PthBytes,
}

/// Where its bytes are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PthBytes {
    /// In the file.
    Mapped(Range<usize>),
    /// Copied from a strided view.
    Owned(Vec<u8>),
}

/// What an archive holds.
pub(crate) struct Contents {
    /// By the keys of the containers around them, joined by dots.
    pub tensors: BTreeMap<String, PthTensor>,
    /// Keys around all of them, which names leave out.
    pub container: String,
}

/// Largest pickle read; a released checkpoint's has 60 kB.
const MAX_PICKLE: u64 = 64 << 20;

/// Every tensor in `bytes`, a whole `.pth` file.
pub(crate) fn read(bytes: &[u8]) -> Result<Contents, PthError> {
    let archive = Archive::open(bytes)?;
    let pickle = unpickle::run(&archive.pickle)?;
    rebuild::tensors(&pickle, &archive.pickle, bytes, &archive.storages)
}

struct Archive {
    pickle: Vec<u8>,
    /// Byte range in the file of each storage, by key.
    storages: BTreeMap<String, Range<usize>>,
}

impl Archive {
    fn open(bytes: &[u8]) -> Result<Self, PthError> {
        let bad = |e: zip::result::ZipError| PthError::Archive(e.to_string());
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(bad)?;
        let mut archive = Self { pickle: Vec::new(), storages: BTreeMap::new() };
        let mut found = false;
        for index in 0..zip.len() {
            let mut file = zip.by_index_raw(index).map_err(bad)?;
            let name = file.name().map_err(bad)?.into_owned();
            // The first folder is the archive's own name.
            let Some((_, rest)) = name.split_once('/') else { continue };
            let wanted = rest == "data.pkl" || rest == "byteorder" || rest.starts_with("data/");
            if !wanted {
                continue;
            }
            if file.compression() != CompressionMethod::Stored || file.encrypted() {
                return Err(PthError::Archive(format!("{name} is compressed; torch.save stores")));
            }
            if let Some(key) = rest.strip_prefix("data/") {
                let range = stored_range(file.data_start(), file.size(), bytes.len());
                let range = range.ok_or_else(|| PthError::Archive(format!("{name} reaches beyond the file")))?;
                archive.storages.insert(key.to_owned(), range);
                continue;
            }
            let mut contents = Vec::new();
            file.by_ref().take(MAX_PICKLE).read_to_end(&mut contents).map_err(|e| PthError::Archive(e.to_string()))?;
            match rest {
                "byteorder" if contents.starts_with(b"big") => return Err(PthError::BigEndian),
                "data.pkl" => (archive.pickle, found) = (contents, true),
                _ => {}
            }
        }
        if found { Ok(archive) } else { Err(PthError::Missing("data.pkl")) }
    }
}

fn stored_range(start: Option<u64>, size: u64, file: usize) -> Option<Range<usize>> {
    let start = usize::try_from(start?).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= file).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, CheckpointError, TensorView};

    fn path(name: &str) -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pth").join(name)
    }

    #[test]
    fn every_value_of_the_state_dict() {
        let expected = Checkpoint::open(&path("state_dict.expected.safetensors")).unwrap();
        for file in ["state_dict.pth", "nested.pth"] {
            let read = Checkpoint::open(&path(file)).unwrap();
            assert_eq!(read.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>(), "{file}");
            for name in expected.names() {
                let (a, b) = (read.get(name).unwrap(), expected.get(name).unwrap());
                assert_eq!(a.shape, b.shape, "{file} {name}");
                assert_eq!(a.to_f32(), b.to_f32(), "{file} {name}");
            }
            let dtype = |name: &str| read.get(name).unwrap().dtype;
            assert_eq!(
                [dtype("net.a.weight"), dtype("net.f8"), dtype("net.half")],
                [DType::Bf16, DType::F8E4M3, DType::F16]
            );
        }
    }

    #[test]
    fn contiguous_tensors_are_not_copied() {
        let bytes = std::fs::read(path("state_dict.pth")).unwrap();
        let tensors = read(&bytes).unwrap().tensors;
        let mapped = |name: &str| matches!(tensors[name].storage, PthBytes::Mapped(_));
        assert!(mapped("net.a.weight") && mapped("net.f8"));
        assert!(!mapped("net.transposed"));
    }

    fn refusal(name: &str) -> String {
        match Checkpoint::open(&path(name)) {
            Err(error @ (CheckpointError::Pth { .. } | CheckpointError::Kind { .. })) => error.to_string(),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn damaged_and_dangerous_files_are_refused_with_the_reason() {
        let text = refusal("legacy_not_zip.pth");
        assert!(text.contains("legacy_not_zip.pth") && text.contains("torch.save it again"), "{text}");
        let text = refusal("truncated.pth");
        assert!(text.contains("truncated") && text.contains("download"), "{text}");
        let text = refusal("refuse_global.pth");
        assert!(text.contains("posix system") && text.contains("nothing was executed"), "{text}");
    }

    /// Every byte changed in turn in three ways, and every length: an error or a result, never a panic.
    #[test]
    fn no_damage_panics() {
        let whole = std::fs::read(path("state_dict.pth")).unwrap();
        let touch = |bytes: &[u8]| {
            let Ok(contents) = read(bytes) else { return };
            for tensor in contents.tensors.values().filter(|t| t.dtype.is_readable()) {
                let data = match &tensor.storage {
                    PthBytes::Mapped(range) => &bytes[range.clone()],
                    PthBytes::Owned(owned) => owned,
                };
                TensorView::plain(tensor.dtype, &tensor.shape, data).to_f32();
            }
        };
        for at in 0..whole.len() {
            touch(&whole[..at]);
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                touch(&damaged);
            }
        }
    }
}
