//! Files that appear complete or not at all: written under a temporary name beside the target, then renamed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::OutputError;

fn io(path: &Path) -> impl Fn(std::io::Error) -> OutputError + '_ {
    move |source| OutputError::Io { path: path.display().to_string(), source }
}

/// Checks that a file can get the name `path`: its folder exists and it is not a directory.
pub(super) fn check_place(path: &Path) -> Result<(), OutputError> {
    let shown = path.display().to_string();
    if path.is_dir() {
        return Err(OutputError::Directory { path: shown });
    }
    let folder = folder_of(path);
    if folder.is_dir() {
        Ok(())
    } else {
        Err(OutputError::NoFolder { path: shown, folder: folder.display().to_string() })
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A complete file that waits for its name; dropped, it is gone.
pub(crate) struct Pending {
    file: NamedTempFile,
    target: PathBuf,
}

impl Pending {
    /// Writes the contents under a temporary name.
    pub(crate) fn write<E: From<OutputError>>(
        target: &Path,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), E>,
    ) -> Result<Self, E> {
        check_place(target)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".pid-").suffix(".tmp");
        // Temporary files are private; a result gets the permissions of any new file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder_of(target)).map_err(io(target))?;
        let mut buffer = BufWriter::with_capacity(1 << 20, file.as_file());
        write(&mut buffer)?;
        buffer.flush().map_err(io(target))?;
        drop(buffer);
        file.as_file().sync_all().map_err(io(target))?;
        Ok(Self { file, target: target.to_path_buf() })
    }

    /// Gives it its name, replacing what had it, and returns that.
    pub(crate) fn commit(self) -> Result<PathBuf, OutputError> {
        let target = self.target;
        self.file.persist(&target).map_err(|e| io(&target)(e.error))?;
        Ok(target)
    }
}

/// Writes a whole file or none.
///
/// # Errors
/// When the folder is missing, the target is a directory, or writing fails (a full disk); then nothing is left,
/// and what was there before stays.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<(), OutputError> {
    Pending::write(path, |file| write(file).map_err(io(path)))?.commit().map(drop)
}
