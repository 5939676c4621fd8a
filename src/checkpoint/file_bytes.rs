//! The bytes of a file, wherever they are held.

use std::ops::Deref;

use memmap2::Mmap;

/// The whole contents of a file: mapped, or read into memory where it cannot be (a pipe).
pub(crate) enum FileBytes {
    /// A regular file, in the page cache.
    Mapped(Mmap),
    /// What came through a pipe.
    Read(Vec<u8>),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}
