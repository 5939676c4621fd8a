//! Names of files that are being written, for a program that must end at once and leave none of them.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

/// In the order in which they were made.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// While it is held, no file is begun and none gets its name.
pub(super) fn lock() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what unfinished writes have left so far, and stops every further one for good: threads that come to begin or
/// finish a file wait for ever. For a program that ends in the next moment without unwinding, as from a signal.
pub fn abandon() {
    let mut names = lock();
    for name in names.drain(..).rev() {
        // Whatever cannot be removed, or has got its name already, stays; there is nobody left to tell.
        let _ = std::fs::remove_file(&name).or_else(|_| std::fs::remove_dir(&name));
    }
    std::mem::forget(names);
}

/// A file or folder that [`abandon`] removes.
#[derive(Debug)]
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    pub(super) fn new(path: &Path, names: &mut Vec<PathBuf>) -> Self {
        names.push(path.to_path_buf());
        Self(path.to_path_buf())
    }

    /// Takes it from the names of what is unfinished.
    fn end(&mut self, names: &mut Vec<PathBuf>) {
        if let Some(index) = names.iter().rposition(|name| *name == self.0) {
            names.remove(index);
        }
        self.0 = PathBuf::new();
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Empty: it has ended already.
        if self.0 != Path::new("") {
            self.end(&mut lock());
        }
    }
}

/// A file under a temporary name; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Temporary {
    file: NamedTempFile<File>,
    unfinished: Unfinished,
}

impl Temporary {
    pub(super) fn make(builder: &tempfile::Builder<'_, '_>, folder: &Path) -> io::Result<Self> {
        let mut names = lock();
        let mut code = None;
        let file = builder.make_in(folder, |path| {
            // With the permissions of any new file, where a temporary one would be private.
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
            file.inspect_err(|error| code = error.raw_os_error())
        });
        // The crate's error has the temporary name in it.
        let file = file.map_err(|error| code.map_or(error, io::Error::from_raw_os_error))?;
        let unfinished = Unfinished::new(file.path(), &mut names);
        Ok(Self { file, unfinished })
    }

    pub(super) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Gives it its name, replacing what had it; for whoever holds the lock.
    pub(super) fn persist(mut self, target: &Path, names: &mut Vec<PathBuf>) -> io::Result<()> {
        self.unfinished.end(names);
        self.file.persist(target).map(drop).map_err(|failed| failed.error)
    }
}
