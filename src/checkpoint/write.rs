//! Writing safetensors files tensor by tensor. (The safetensors crate writes from memory; a checkpoint of
//! 2.7 GB is streamed here, and read back by the crate in the tests.)

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Checkpoint, CheckpointError, DType, TensorView, for_each_bf16};
use crate::model::Config;
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

/// Writes a safetensors file; `body(i, file)` writes the bytes of entry i.
pub(super) fn write_file(
    path: &Path,
    entries: &[HeaderEntry<'_>],
    metadata: &BTreeMap<String, String>,
    progress: &dyn Progress,
    body: impl FnMut(usize, &mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<(), CheckpointError> {
    Ok(stage_file(path, entries, metadata, progress, body)?.commit().map(drop)?)
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
    let entry = HeaderEntry { name, dtype: DType::F32, shape, bytes: bytes.len() };
    stage_file(path, &[entry], metadata, &NoProgress, |_, file| file.write_all(bytes))
}

fn stage_file(
    path: &Path,
    entries: &[HeaderEntry<'_>],
    metadata: &BTreeMap<String, String>,
    progress: &dyn Progress,
    mut body: impl FnMut(usize, &mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<Pending, CheckpointError> {
    let io = |source| CheckpointError::from(OutputError::Io { path: path.display().to_string(), source });
    progress.start("writing", entries.iter().map(|e| e.bytes as u64).sum());
    let pending = Pending::write(path, |file| {
        file.write_all(&header(entries, metadata)).map_err(io)?;
        for (index, entry) in entries.iter().enumerate() {
            body(index, file).map_err(io)?;
            progress.advance(entry.bytes as u64);
            if progress.cancelled() {
                return Err(CheckpointError::Cancelled);
            }
        }
        Ok(())
    })?;
    progress.finish();
    Ok(pending)
}

/// Metadata that says how tensors are quantised, and is wrong where they no longer are.
const QUANTISATION: [&str; 2] = [super::quantised::METADATA, "quantization_config"];

/// Writes `checkpoint` as safetensors, storage types kept (quantised tensors as bf16), with the JSON of `config` in the
/// metadata.
///
/// # Errors
/// When the file cannot be written or the progress says to stop; then nothing is left.
pub fn convert(
    checkpoint: &Checkpoint,
    config: &Config,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), CheckpointError> {
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
