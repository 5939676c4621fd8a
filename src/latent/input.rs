//! The bytes of an input: regular files are mapped, pipes and devices are read into memory, once. `-` is standard input.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

use memmap2::Mmap;

use super::InputError;
use crate::checkpoint::FileBytes;

/// Most bytes read from a pipe: twice the noise of a 4096x4096 picture and its four steps.
const MOST_PIPED: u64 = 4 << 30;

/// The contents of `path`, which are not empty.
pub(super) fn read(path: &Path) -> Result<FileBytes, InputError> {
    let io = |e: std::io::Error| fail(path, &e.to_string());
    if is_stdin(path) {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(fail(path, "is a terminal; send a file to it, as in `< latent.npy`"));
        }
        return piped(path, stdin.lock(), MOST_PIPED);
    }
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(fail(path, "is a directory; name the file in it"));
    }
    if !metadata.is_file() {
        return piped(path, file, MOST_PIPED);
    }
    if metadata.len() == 0 {
        return Err(fail(path, "is empty: the download or the copy did not finish"));
    }
    // SAFETY: the map is only read; a file cut short by another program while it is mapped ends this one with
    // SIGBUS, which no reader of mapped files can prevent.
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    Ok(FileBytes::Mapped(map))
}

/// Everything that comes through a pipe, at most `most` bytes.
fn piped(path: &Path, pipe: impl Read, most: u64) -> Result<FileBytes, InputError> {
    let mut bytes = Vec::new();
    pipe.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| fail(path, &e.to_string()))?;
    if bytes.len() as u64 > most {
        let message = format!("more than {most} bytes came through this pipe, the most that is held in memory; ");
        return Err(fail(path, &(message + "write it to a file and name that")));
    }
    if bytes.is_empty() {
        return Err(fail(
            path,
            "nothing came through this pipe: what should write to it failed, or it was read before",
        ));
    }
    Ok(FileBytes::Read(bytes))
}

/// Whether `path` is the short name of standard input. A file of that name is `./-`.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// `path` for a message.
pub(super) fn shown(path: &Path) -> String {
    if is_stdin(path) { "standard input".into() } else { path.display().to_string() }
}

pub(super) fn fail(path: &Path, message: &str) -> InputError {
    InputError::File { path: shown(path), message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_read_up_to_a_limit() {
        let read = |bytes: &[u8]| piped(Path::new("-"), bytes, 4).map(|contents| contents.to_vec());
        assert_eq!(read(b"four"), Ok(b"four".to_vec()));
        let text = read(b"five!").unwrap_err().to_string();
        assert!(text.starts_with("standard input: more than 4 bytes"), "{text}");
        assert!(read(b"").unwrap_err().to_string().contains("nothing came"));
    }
}
