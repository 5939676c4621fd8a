//! Opening files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::pth::{self, PthBytes};
use super::{Bytes, Checkpoint, CheckpointError, DType, Entry, FileBytes, Format};

const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

pub(super) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let shown = path.display().to_string();
    let io = |source| CheckpointError::Io { path: shown.clone(), source };
    if path == Path::new("-") {
        return Err(CheckpointError::NotMappable { path: shown });
    }
    // Opening a pipe waits for its writer; what it is can be told before.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if metadata.is_dir() {
        return Err(CheckpointError::Directory { path: shown });
    }
    if !metadata.is_file() {
        return Err(CheckpointError::NotMappable { path: shown });
    }
    let file = File::open(path).map_err(io)?;
    if metadata.len() == 0 {
        return Err(CheckpointError::Empty { path: shown });
    }
    // SAFETY: the map is only read; a file cut short by another program while it is mapped ends this one with
    // SIGBUS, which no reader of mapped files can prevent.
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    from_bytes(path, FileBytes::Mapped(map))
}

pub(super) fn from_bytes(path: &Path, map: FileBytes) -> Result<Checkpoint, CheckpointError> {
    let shown = path.display().to_string();
    let (format, (tensors, metadata)) = if map.starts_with(ZIP_MAGIC) {
        (Format::Pth, (pth_tensors(&map, &shown)?, BTreeMap::new()))
    } else {
        (Format::Safetensors, safetensors_tensors(&map, &shown)?)
    };
    Ok(Checkpoint {
        path: Some(path.to_path_buf()),
        format,
        map: Some(map),
        tensors,
        metadata,
        fingerprint: OnceLock::new(),
    })
}

type Contents = (BTreeMap<String, Entry>, BTreeMap<String, String>);

fn safetensors_tensors(map: &[u8], path: &str) -> Result<Contents, CheckpointError> {
    let bad = |message: String| CheckpointError::Safetensors { path: path.into(), message };
    let (_, header) = SafeTensors::read_metadata(map).map_err(|e| {
        bad(match pth::looks_like_pickle(map) {
            true => "it is a pickle without an archive (torch.save before 1.6, or with the old format); load it in PyTorch and torch.save it again".into(),
            false => format!("{e}; it is damaged or truncated, or another kind of file (checkpoints are .safetensors or .pth)"),
        })
    })?;
    let file = SafeTensors::deserialize(map).map_err(|e| bad(format!("{e}; it is damaged or truncated")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let dtype = dtype_of(view.dtype()).ok_or_else(|| CheckpointError::StorageType {
            path: path.into(),
            name: name.into(),
            dtype: format!("{:?}", view.dtype()),
        })?;
        let start = view.data().as_ptr().addr() - map.as_ptr().addr();
        let bytes = Bytes::Mapped(start..start + view.data().len());
        tensors.insert(name.to_owned(), Entry { dtype, shape: view.shape().to_vec(), bytes });
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((tensors, metadata))
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}

fn pth_tensors(map: &[u8], path: &str) -> Result<BTreeMap<String, Entry>, CheckpointError> {
    let tensors = pth::read(map).map_err(|source| CheckpointError::Pth { path: path.into(), source })?;
    let entry = |tensor: pth::PthTensor| Entry {
        dtype: tensor.dtype,
        shape: tensor.shape,
        bytes: match tensor.storage {
            PthBytes::Mapped(range) => Bytes::Mapped(range),
            PthBytes::Owned(bytes) => Bytes::Owned(Arc::new(bytes)),
        },
    };
    Ok(tensors.into_iter().map(|(name, tensor)| (name, entry(tensor))).collect())
}
