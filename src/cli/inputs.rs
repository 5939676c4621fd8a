//! Input files of commands, and what is said of them.

use std::path::Path;

use serde_json::{Value, json};

use super::report::CliError;
use super::shown;
use crate::latent::{PictureFile, TensorFile, is_stdin};

/// Refuses inputs that can only be read once and are named twice: a pipe gives its bytes to the first reader.
pub(super) fn are_read_once(inputs: &[(&str, Option<&Path>)]) -> Result<(), CliError> {
    let is_pipe = |path: &Path| std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir());
    let resolved = |path: &Path| {
        let place = if is_stdin(path) { Path::new("/dev/stdin") } else { path };
        place.canonicalize().unwrap_or_else(|_| place.to_path_buf())
    };
    let given: Vec<(&str, &Path)> = inputs.iter().filter_map(|(flag, path)| path.map(|path| (*flag, path))).collect();
    for (i, (first, path)) in given.iter().enumerate() {
        let again = given[i + 1..].iter().find(|(_, other)| resolved(other) == resolved(path));
        if let Some((second, other)) = again
            && (is_stdin(path) || is_stdin(other) || is_pipe(path))
        {
            let path = shown(path);
            return Err(CliError::usage(format!("{first} and {second} both read {path}, which can be read only once")));
        }
    }
    Ok(())
}

/// The file of `--caption`. A prompt in its place is a usual mistake, which the error knows.
pub(super) fn open_caption(path: &Path) -> Result<TensorFile, CliError> {
    TensorFile::open(path).map_err(|error| match is_stdin(path) || path.exists() {
        true => error.into(),
        false => CliError::failed(format!(
            "--caption: there is no file `{}`: it wants a file with the prompt's embeddings, not the prompt itself: \
             [B, T, 2304], Gemma-2-2b-it's last hidden states of the prompt with PiD's prefix, at most 300 tokens, as \
             .safetensors (tensor `caption`) or .npy. No command of pid makes them yet: save them from Gemma in Python, or \
             leave --caption out, which decodes with zero embeddings",
            shown(path)
        )),
    })
}

/// For a report: the colour space that the picture's file names, and whether it was converted.
pub(super) fn colours_json(read: &PictureFile) -> Value {
    match &read.profile {
        None => json!({ "profile": null, "source": null, "converted_to_srgb": false }),
        Some(p) => json!({ "profile": p.name, "source": p.source, "converted_to_srgb": p.is_converted }),
    }
}

/// The same for people; nothing where nothing was done.
pub(super) fn colours_text(read: &PictureFile) -> String {
    let converted = read.profile.as_ref().filter(|p| p.is_converted);
    converted.map_or_else(String::new, |p| format!(", converted from {} ({}) to sRGB", p.name, p.source))
}
