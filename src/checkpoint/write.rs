//! Writing safetensors files tensor by tensor. (The safetensors crate writes from memory; a checkpoint of
//! 2.7 GB is streamed here, and read back by the crate in the tests.)

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Checkpoint, CheckpointError, DType, TensorView, for_each_bf16};
use crate::models::pid::Config;
use crate::output::{OutputError, Pending};
use crate::progress::{NoProgress, Progress};

/// A tensor to come.
pub(super) struct HeaderEntry<'a> {
    pub name: &'a str,
    pub dtype: DType,
    pub shape: &'a [usize],
    pub bytes: usize,
}

/// Length and JSON header, padded with spaces to a multiple of 8.
fn header(entries: &[HeaderEntry<'_>], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("__metadata__".into(), json!(metadata));
    let mut start = 0;
    for entry in entries {
        let end = start + entry.bytes;
        let value = json!({ "dtype": entry.dtype.code(), "shape": entry.shape, "data_offsets": [start, end] });
        object.insert(entry.name.into(), value);
        start = end;
    }
    let mut text = Value::Object(object).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

/// Writes a safetensors file and returns its size in bytes; `body(i, file)` writes the bytes of entry i.
pub(super) fn write_file(
    path: &Path,
    entries: &[HeaderEntry<'_>],
    metadata: &BTreeMap<String, String>,
    progress: &dyn Progress,
    body: impl FnMut(usize, &mut dyn Write) -> std::io::Result<()>,
) -> Result<u64, CheckpointError> {
    let header = header(entries, metadata);
    let bytes = header.len() + entries.iter().map(|e| e.bytes).sum::<usize>();
    let pending = Pending::write_through(path, |file| write_all(path, file, &header, entries, progress, body))?;
    if progress.cancelled() {
        return Err(CheckpointError::Cancelled);
    }
    pending.commit()?;
    Ok(bytes as u64)
}

/// A safetensors file of one float32 tensor that waits for its name.
pub(crate) fn stage_tensor(
    path: &Path,
    name: &str,
    shape: &[usize],
    values: &[f32],
    metadata: &BTreeMap<String, String>,
) -> Result<Pending, CheckpointError> {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let entries = [HeaderEntry { name, dtype: DType::F32, shape, bytes: bytes.len() }];
    let header = header(&entries, metadata);
    let body = |_, file: &mut dyn Write| file.write_all(bytes);
    Pending::write(path, |file| write_all(path, file, &header, &entries, &NoProgress, body))
}

fn write_all(
    path: &Path,
    file: &mut dyn Write,
    header: &[u8],
    entries: &[HeaderEntry<'_>],
    progress: &dyn Progress,
    mut body: impl FnMut(usize, &mut dyn Write) -> std::io::Result<()>,
) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::from(OutputError::Io { path: path.display().to_string(), source });
    progress.start("writing", entries.iter().map(|e| e.bytes as u64).sum());
    file.write_all(header).map_err(io)?;
    for (index, entry) in entries.iter().enumerate() {
        body(index, file).map_err(io)?;
        progress.advance(entry.bytes as u64);
        if progress.cancelled() {
            return Err(CheckpointError::Cancelled);
        }
    }
    progress.finish();
    Ok(())
}

/// Metadata that says how tensors are quantised, and is wrong where they no longer are.
const QUANTISATION: [&str; 2] = [super::quantised::METADATA, "quantization_config"];

/// Writes `checkpoint` as safetensors, storage types kept (quantised tensors as bf16), with the JSON of `config` in the
/// metadata; returns the file's size in bytes.
///
/// # Errors
/// When the file cannot be written or the progress says to stop; then nothing is left.
pub fn convert(
    checkpoint: &Checkpoint,
    config: &Config,
    path: &Path,
    progress: &dyn Progress,
) -> Result<u64, CheckpointError> {
    let views: Vec<_> = checkpoint.names().filter_map(|n| Some((n, checkpoint.get(n)?))).collect();
    let size = |view: &TensorView<'_>| if view.coding.is_some() { 2 * view.len() } else { view.bytes.len() };
    let entries: Vec<_> = views
        .iter()
        .map(|(name, view)| HeaderEntry { name, dtype: view.value_dtype(), shape: view.shape, bytes: size(view) })
        .collect();
    let mut metadata = checkpoint.metadata().clone();
    metadata.retain(|key, _| !QUANTISATION.contains(&key.as_str()));
    metadata.insert("config".into(), config.to_json());
    metadata.insert("format".into(), "pt".into());
    write_file(path, &entries, &metadata, progress, |index, file| match &views[index].1 {
        plain if plain.coding.is_none() => file.write_all(plain.bytes),
        quantised => for_each_bf16(quantised, |bytes| file.write_all(bytes)),
    })
}
