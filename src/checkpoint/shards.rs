//! Checkpoints in several files: an index (`model.safetensors.index.json`) names the file of each tensor.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{Bytes, Checkpoint, CheckpointError, Format, read};

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// What an index's file name ends in.
const INDEX: &str = ".index.json";
/// What checkpoints' file names end in.
const CHECKPOINTS: [&str; 5] = ["safetensors", "pth", "pt", "ckpt", "bin"];

/// Opens the shards that the index `bytes` at `path` names, which lie beside it.
pub(super) fn open(path: &Path, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let fail = |message: String| CheckpointError::Shards { path: path.display().to_string(), message };
    let index: Index = serde_json::from_slice(bytes).map_err(|e| fail(format!("no index of shards: {e}")))?;
    let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in index.weight_map {
        wanted.entry(file).or_default().push(tensor);
    }
    if wanted.is_empty() {
        return Err(fail("an index that names no tensor".into()));
    }
    let mut whole = Checkpoint::empty(Some(path), Format::Safetensors);
    for (source, (file, tensors)) in wanted.into_iter().enumerate() {
        let shard_path = place(path, &file).map_err(fail)?;
        let bytes = read::map(&shard_path)?;
        let mut shard = read::read(&shard_path, &bytes, source)?;
        for name in tensors {
            let entry = shard.tensors.remove(&name);
            let entry =
                entry.ok_or_else(|| fail(format!("{file} lacks tensor {name}, which the index says is in it")))?;
            debug_assert!(!matches!(&entry.bytes, Bytes::Mapped(at, _) if *at != source));
            whole.tensors.insert(name, entry);
        }
        for (key, value) in shard.metadata {
            whole.metadata.entry(key).or_insert(value);
        }
        whole.format = shard.format;
        whole.warnings.append(&mut shard.warnings);
        whole.sources.push(bytes);
    }
    Ok(whole)
}

/// Where the shard called `file` is: beside the index, or beside what the index is a link to.
fn place(index: &Path, file: &str) -> Result<PathBuf, String> {
    let relative = Path::new(file);
    if file.is_empty() || !relative.components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(format!("it names a shard outside its own folder: {file}"));
    }
    let beside = index.with_file_name(file);
    let target = index.canonicalize().map(|target| target.with_file_name(file));
    [Some(beside.clone()), target.ok()].into_iter().flatten().find(|path| path.exists()).ok_or_else(|| {
        format!("its shard {} is not there: download all of them into the index's folder", beside.display())
    })
}

/// Number and count of a shard, as in `model-00001-of-00002.safetensors`, where there are several.
fn number(path: &Path) -> Option<(usize, usize)> {
    let stem = path.file_stem()?.to_str()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (_, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some((digits(number)?, digits(count)?)).filter(|(_, count)| *count > 1)
}

/// What to give instead of a file that is one shard of several, by its name.
pub(super) fn advice(path: &Path) -> Option<String> {
    let (number, count) = number(path)?;
    let index = listing(path.parent()?, |name| name.ends_with(INDEX));
    Some(match index.as_slice() {
        [] => format!(
            "it is shard {number} of {count}, and there is no index beside it: download the *{INDEX} file and every shard, and give the index"
        ),
        names => format!("it is shard {number} of {count}: give their index, {}", names.join(" or ")),
    })
}

/// What to give instead of a folder.
pub(super) fn inside(folder: &Path) -> String {
    let is_checkpoint =
        |name: &str| CHECKPOINTS.iter().any(|e| name.rsplit_once('.').is_some_and(|(_, end)| end == *e));
    let mut found = listing(folder, |name| name.ends_with(INDEX));
    if found.is_empty() {
        found = listing(folder, is_checkpoint);
    }
    match found.as_slice() {
        [] => "name the checkpoint file in it".to_owned(),
        [only] => format!("name the checkpoint file in it, {only}"),
        [first, .., last] => format!("name one of the {} checkpoint files in it ({first} ... {last})", found.len()),
    }
}

/// Names of the files in `folder` that fit, sorted, with the folder.
fn listing(folder: &Path, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(here).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| fits(name)).map(|name| folder.join(name).display().to_string()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_known_by_name() {
        let number = |name: &str| number(Path::new(name));
        assert_eq!(number("a/model-00002-of-00003.safetensors"), Some((2, 3)));
        for name in ["model-00001-of-00001.safetensors", "model.safetensors", "best-of-5.pth", "a-x-of-2.pth"] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn shards_stay_in_their_folder() {
        for file in ["../a.safetensors", "/a.safetensors", "", "a/../../b"] {
            assert!(place(Path::new("x.index.json"), file).is_err(), "{file}");
        }
    }
}
