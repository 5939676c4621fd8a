//! Files that appear complete or not at all: written under a temporary name beside the target, then renamed. What is no
//! regular file is written into.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::OutputError;
use super::place::{Place, io_error, temporary};
use super::unfinished::{self, Temporary};

/// Bytes collected before each write.
const BUFFER_BYTES: usize = 1 << 20;

/// A complete result that waits for its name; dropped, it is gone.
pub(crate) struct Pending {
    contents: Contents,
    target: PathBuf,
}

enum Contents {
    /// A file beside the target.
    File { temporary: Temporary, file: PathBuf },
    /// For what is no file.
    Stream { bytes: Vec<u8>, place: Place },
    /// In the stream already.
    Gone,
}

impl Pending {
    /// Writes the contents under a temporary name; those of a stream are kept in memory.
    pub(crate) fn write<E: From<OutputError>>(
        target: &Path,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Self, E> {
        Self::write_to(Place::of(target)?, target, write)
    }

    /// As [`Self::write`], but a stream gets the contents as they are made: for what is too large to be kept.
    pub(crate) fn write_through<E: From<OutputError>>(
        target: &Path,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Self, E> {
        let place = Place::of(target)?;
        if !place.is_stream() {
            return Self::write_to(place, target, write);
        }
        let stream = place.open().map_err(io_error(target))?;
        buffered(&stream, target, write)?;
        Ok(Self { contents: Contents::Gone, target: target.to_path_buf() })
    }

    fn write_to<E: From<OutputError>>(
        place: Place,
        target: &Path,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Self, E> {
        let contents = match place {
            Place::File(file) => {
                let temporary = temporary(&file, OsStr::new(".tmp")).map_err(io_error(target))?;
                buffered(temporary.file(), target, write)?;
                temporary.file().sync_all().map_err(io_error(target))?;
                Contents::File { temporary, file }
            }
            place => {
                let mut bytes = Vec::new();
                write(&mut bytes)?;
                Contents::Stream { bytes, place }
            }
        };
        Ok(Self { contents, target: target.to_path_buf() })
    }

    /// Gives it its name, replacing what had it, and returns that.
    pub(crate) fn commit(self) -> Result<PathBuf, OutputError> {
        let target = self.target.clone();
        commit_all(vec![self]).map(|_| target)
    }
}

fn buffered<E: From<OutputError>>(
    file: &File,
    target: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = BufWriter::with_capacity(BUFFER_BYTES, file);
    let written = write(&mut buffer).and_then(|()| Ok(buffer.flush().map_err(io_error(target))?));
    // What could not be written is not tried again.
    drop(buffer.into_parts());
    written
}

/// Writes what goes into streams, then gives all files their names, and returns those. [`unfinished::abandon`] finds all
/// of the files named or none.
///
/// # Errors
/// When a stream does not take its bytes, then no file has got its name; or when a name cannot be given.
pub(crate) fn commit_all(pending: Vec<Pending>) -> Result<Vec<PathBuf>, OutputError> {
    let mut targets = Vec::new();
    let mut files = Vec::new();
    for Pending { contents, target } in pending {
        match contents {
            Contents::File { temporary, file } => files.push((temporary, file, target.clone())),
            Contents::Stream { bytes, place } => {
                let written = place.open().and_then(|mut stream| stream.write_all(&bytes));
                written.map_err(io_error(&target))?;
            }
            Contents::Gone => {}
        }
        targets.push(target);
    }
    for (temporary, file, target) in &files {
        keep_permissions(temporary.file(), file).map_err(io_error(target))?;
    }
    let mut rest = files.into_iter();
    let mut names = unfinished::lock();
    let mut persist = |(temporary, file, target): (Temporary, PathBuf, PathBuf)| {
        temporary.persist(&file, &mut names).map_err(io_error(&target))
    };
    let named = rest.by_ref().try_for_each(&mut persist);
    // Of an error, those that are left take the lock to remove theirs.
    drop(names);
    named.map(|()| targets)
}

/// Gives the new file the owner and the permissions of the one that it replaces, if there is one.
#[cfg(unix)]
fn keep_permissions(new: &File, target: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let Ok(old) = std::fs::metadata(target) else { return Ok(()) };
    let made = new.metadata()?;
    let mut mode = old.mode() & 0o777;
    if old.uid() != made.uid() {
        // Only root may; a file that becomes its writer's is what every editor leaves, too.
        let _ = fchown(new, Some(old.uid()), None);
    }
    if old.gid() != made.gid() && fchown(new, None, Some(old.gid())).is_err() {
        // What was for the old group is not for the new one.
        mode = mode & !0o070 | (mode & 0o007) << 3;
    }
    new.set_permissions(PermissionsExt::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_permissions(_: &File, _: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Writes a whole file or none; through symbolic links, with the permissions of the file that is replaced. A pipe or a
/// device is written into.
///
/// # Errors
/// When the folder is missing, the target is a directory, or writing fails (a full disk); then nothing is left,
/// and what was there before stays.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), OutputError> {
    Pending::write_through(path, |file| write(file).map_err(io_error(path)))?.commit().map(drop)
}
