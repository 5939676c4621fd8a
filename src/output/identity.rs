//! What a command has to know of the places it writes to beside their paths: which are the same, which are shared, who
//! waits at the other end.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use super::place::{Place, append, folder_of};
use super::unfinished::{Unfinished, lock};

/// What tells two places apart, however their paths are spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Something that exists: device and inode.
    #[cfg(unix)]
    Node(u64, u64),
    /// Something that exists: its canonical path.
    #[cfg(not(unix))]
    Path(PathBuf),
    /// A name in a folder, with nothing there yet.
    Name(Box<Identity>, OsString),
}

impl Identity {
    /// That of what `path` leads to; `None` where nothing is.
    #[cfg(unix)]
    pub(crate) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|there| Self::node(&there))
    }

    /// That of what `path` leads to; `None` where nothing is.
    #[cfg(not(unix))]
    pub(crate) fn of(path: &Path) -> Option<Self> {
        path.canonicalize().ok().map(Self::Path)
    }

    #[cfg(unix)]
    fn node(there: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self::Node(there.dev(), there.ino())
    }
}

impl Place {
    /// What tells it from other places; `None` where that cannot be found out.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Self::File(path) => Identity::of(path).or_else(|| {
                let folder = Identity::of(folder_of(path))?;
                Some(Identity::Name(Box::new(folder), path.file_name()?.to_owned()))
            }),
            Self::Device(path) => Identity::of(path),
            #[cfg(unix)]
            Self::Descriptor(_) => self.metadata().map(|there| Identity::node(&there)),
            #[cfg(not(unix))]
            Self::Descriptor(_) => None,
        }
    }

    fn metadata(&self) -> Option<Metadata> {
        match self {
            Self::File(path) | Self::Device(path) => std::fs::metadata(path).ok(),
            Self::Descriptor(_) => self.open().and_then(|file| file.metadata()).ok(),
        }
    }

    /// Whether any number of writers and readers may share it: a terminal, `/dev/null`.
    pub(crate) fn is_character_device(&self) -> bool {
        #[cfg(unix)]
        return self.metadata().is_some_and(|there| std::os::unix::fs::FileTypeExt::is_char_device(&there.file_type()));
        #[cfg(not(unix))]
        false
    }

    /// Holds a named pipe open, so that its reader sees the end of it whatever happens here; `None` for anything else, and
    /// as long as nobody reads.
    pub(crate) fn hold(&self) -> Option<File> {
        match self {
            Self::Device(path) if !self.is_character_device() => append(path, true).ok(),
            _ => None,
        }
    }
}

/// Folders that were made for a result; dropped, those that are still empty are gone.
#[derive(Debug)]
pub(crate) struct MadeFolders {
    /// Each with the folder it is in after it.
    folders: Vec<(PathBuf, Unfinished)>,
}

impl MadeFolders {
    /// Makes `folder`, and the folders around it, where they are not there.
    ///
    /// # Errors
    /// When one of them cannot be made; then none is left.
    pub(crate) fn make(folder: &Path) -> std::io::Result<Self> {
        let absent = folder.ancestors().take_while(|f| *f != Path::new("") && !f.exists());
        let absent: Vec<PathBuf> = absent.map(Path::to_path_buf).collect();
        let mut made = Self { folders: Vec::new() };
        for path in absent.into_iter().rev() {
            let mut names = lock();
            std::fs::create_dir(&path).or_else(|e| if path.is_dir() { Ok(()) } else { Err(e) })?;
            let unfinished = Unfinished::new(&path, &mut names);
            made.folders.insert(0, (path, unfinished));
        }
        if folder.is_dir() { Ok(made) } else { Err(std::io::ErrorKind::NotADirectory.into()) }
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        for (path, _) in &self.folders {
            // A folder that something is in stays.
            let _ = std::fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn places_are_the_same_by_any_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::os::unix::fs::symlink("sub/../c", at("a")).unwrap();
        let same = || {
            let [a, c, sub] = ["a", "c", "sub/../c"].map(|name| Place::of(&at(name)).unwrap().identity());
            a == c && c == sub && c.is_some()
        };
        assert!(same(), "before it is there");
        std::fs::write(at("c"), "").unwrap();
        std::fs::hard_link(at("c"), at("d")).unwrap();
        assert!(same(), "when it is there");
        assert_eq!(Place::of(&at("d")).unwrap().identity(), Identity::of(&at("a")));
        assert_ne!(Place::of(&at("e")).unwrap().identity(), Place::of(&at("f")).unwrap().identity());
        assert!(Place::of(Path::new("/dev/null")).unwrap().is_character_device());
    }

    #[test]
    fn folders_without_a_result_go_again() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        drop(MadeFolders::make(&deep).unwrap());
        assert!(!folder.path().join("a").exists());
        let made = MadeFolders::make(&deep).unwrap();
        std::fs::write(folder.path().join("a/b/x"), "").unwrap();
        drop(made);
        assert!(folder.path().join("a/b/x").exists() && !deep.exists());
        assert!(MadeFolders::make(&folder.path().join("a/b/x")).is_err());
    }
}
