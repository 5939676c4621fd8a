//! Opening files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::pth::{self, PthBytes};
use super::{Bytes, Checkpoint, CheckpointError, Entry, FileBytes, Format, header, shards};
use crate::kind::Kind;

const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

pub(super) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let source = map(path)?;
    let mut checkpoint = match read(path, &source, 0) {
        Err(CheckpointError::Kind { kind: Kind::ShardIndex, .. }) => return shards::open(path, &source),
        other => other?,
    };
    checkpoint.sources.push(source);
    Ok(checkpoint)
}

pub(super) fn from_bytes(path: &Path, bytes: FileBytes) -> Result<Checkpoint, CheckpointError> {
    if bytes.is_empty() {
        return Err(CheckpointError::Empty { path: path.display().to_string() });
    }
    let mut checkpoint = read(path, &bytes, 0)?;
    checkpoint.sources.push(bytes);
    Ok(checkpoint)
}

/// Maps the file at `path`.
pub(super) fn map(path: &Path) -> Result<FileBytes, CheckpointError> {
    let shown = path.display().to_string();
    let io = |source| CheckpointError::Io { path: shown.clone(), source };
    if path == Path::new("-") {
        return Err(CheckpointError::NotMappable { path: shown });
    }
    // Opening a pipe waits for its writer; what it is can be told before.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if metadata.is_dir() {
        return Err(CheckpointError::Directory { advice: shards::inside(path), path: shown });
    }
    if !metadata.is_file() {
        return Err(CheckpointError::NotMappable { path: shown });
    }
    if metadata.len() == 0 {
        return Err(CheckpointError::Empty { path: shown });
    }
    let file = File::open(path).map_err(io)?;
    // SAFETY: the map is only read; a file cut short by another program while it is mapped ends this one with
    // SIGBUS, which no reader of mapped files can prevent.
    Ok(FileBytes::Mapped(unsafe { Mmap::map(&file) }.map_err(io)?))
}

/// What the file `bytes` holds, as source number `source` of the checkpoint, which the caller adds.
pub(super) fn read(path: &Path, bytes: &[u8], source: usize) -> Result<Checkpoint, CheckpointError> {
    let shown = || path.display().to_string();
    if header::is_likely(bytes) {
        return safetensors(path, bytes, source);
    }
    if let Some(kind) = Kind::of(bytes) {
        return Err(CheckpointError::Kind { path: shown(), kind });
    }
    if bytes.starts_with(ZIP_MAGIC) {
        let contents = pth::read(bytes).map_err(|source| CheckpointError::Pth { path: shown(), source })?;
        let tensors = contents.tensors.into_iter().map(|(name, tensor)| (name, entry(tensor, source))).collect();
        let container = contents.container;
        return Ok(Checkpoint { tensors, container, ..Checkpoint::empty(Some(path), Format::Pth) });
    }
    safetensors(path, bytes, source)
}

fn safetensors(path: &Path, bytes: &[u8], source: usize) -> Result<Checkpoint, CheckpointError> {
    let shown = path.display().to_string();
    let header =
        header::read(bytes).map_err(|message| CheckpointError::Safetensors { path: shown.clone(), message })?;
    let mut checkpoint = Checkpoint::empty(Some(path), Format::Safetensors);
    if header.is_zero_padded {
        checkpoint
            .warnings
            .push(format!("{shown}: its header is padded with zeros, the format wants spaces; it is read"));
    }
    if header.trailing > 0 {
        let count = header.trailing;
        checkpoint.warnings.push(format!("{shown}: {count} bytes after its last tensor are of no use, and ignored"));
    }
    checkpoint.metadata = header.metadata;
    let described = header.tensors.into_iter();
    checkpoint.tensors = described
        .map(|t| (t.name, Entry::plain(t.dtype, t.shape, Bytes::Mapped(source, t.range))))
        .collect::<BTreeMap<_, _>>();
    Ok(checkpoint)
}

fn entry(tensor: pth::PthTensor, source: usize) -> Entry {
    let bytes = match tensor.storage {
        PthBytes::Mapped(range) => Bytes::Mapped(source, range),
        PthBytes::Owned(bytes) => Bytes::Owned(Arc::new(bytes)),
    };
    Entry::plain(tensor.dtype, tensor.shape, bytes)
}
