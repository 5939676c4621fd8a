//! Where a result goes: through symbolic links, into a regular file that is replaced whole, or straight into what is
//! no file (a pipe, a device, an open descriptor).

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::OutputError;
use super::unfinished::Temporary;

/// As many symbolic links as Linux follows in one path.
const MAX_LINKS: usize = 40;
/// What the names of temporary files begin with, and how many random characters follow.
const PREFIX: &str = ".pid-";
const RANDOM: usize = 6;

/// The end of a path's symbolic links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A regular file, there or to come, in a folder that is there; no link.
    File(PathBuf),
    /// A named pipe, a character device, or what another process has open: opened by its path.
    Device(PathBuf),
    /// An open descriptor of this process: `/dev/stdout`, `/dev/fd/N`, the shell's `>(...)`.
    Descriptor(i32),
}

pub(super) fn io_error(path: &Path) -> impl Fn(io::Error) -> OutputError + '_ {
    move |source| OutputError::Io { path: path.display().to_string(), source }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A path that can only name a folder.
fn names_folder(path: &Path) -> bool {
    let last = path.as_os_str().as_encoded_bytes().last();
    path.file_name().is_none() || last.is_some_and(|byte| std::path::is_separator(char::from(*byte)))
}

impl Place {
    /// Follows `path`, link by link: a link to what does not exist yet leads to a new file.
    ///
    /// # Errors
    /// When the folder is missing, or what is there takes no result: a directory, a disk, a socket, links in a circle.
    pub(crate) fn of(path: &Path) -> Result<Self, OutputError> {
        let shown = || path.display().to_string();
        let mut at = path.to_path_buf();
        for _ in 0..MAX_LINKS {
            if let Some(place) = open_elsewhere(&at) {
                return Ok(place);
            }
            let there = match std::fs::symlink_metadata(&at) {
                Ok(there) => there,
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    let folder = folder_of(&at);
                    return if !folder.is_dir() {
                        Err(OutputError::NoFolder { path: shown(), folder: folder.display().to_string() })
                    } else if names_folder(&at) {
                        Err(OutputError::Directory { path: shown() })
                    } else {
                        Ok(Self::File(at))
                    };
                }
                Err(e) => return Err(io_error(path)(e)),
            };
            if there.is_symlink() {
                let link = std::fs::read_link(&at).map_err(io_error(path))?;
                at = folder_of(&at).join(link);
            } else if there.is_dir() {
                return Err(OutputError::Directory { path: shown() });
            } else if let Some(what) = takes_nothing(&there) {
                return Err(OutputError::Special { path: shown(), what });
            } else {
                return Ok(if there.is_file() { Self::File(at) } else { Self::Device(at) });
            }
        }
        Err(OutputError::Links { path: shown() })
    }

    /// Whether bytes go straight there, with no temporary file and no way back.
    pub(crate) fn is_stream(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// Proves that a result can go there, and leaves no trace: makes and removes a file with a name of the same length in
    /// the folder. A pipe is not opened, which its reader would notice.
    ///
    /// # Errors
    /// What would be an error at the end: a folder or file that may not be written, a name that is too long, a file
    /// system that is read-only or full of files.
    pub(crate) fn prove(&self, path: &Path) -> Result<(), OutputError> {
        match self {
            Self::Device(device) => check_access(device).map_err(io_error(path)),
            Self::Descriptor(_) => self.open().and_then(check_mode).map_err(io_error(path)),
            Self::File(file) => prove_file(file, path),
        }
    }

    /// Opens what is no regular file for writing; a named pipe waits for its reader.
    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            Self::File(path) | Self::Device(path) => append(path, false),
            Self::Descriptor(number) => duplicate(*number),
        }
    }
}

fn prove_file(file: &Path, path: &Path) -> Result<(), OutputError> {
    let shown = || path.display().to_string();
    let folder = folder_of(file);
    let there = std::fs::metadata(file).ok();
    if there.as_ref().is_some_and(|there| there.permissions().readonly() || check_access(file).is_err()) {
        return Err(OutputError::ReadOnly { path: shown() });
    }
    let made = temporary(file, &tail(file.file_name().unwrap_or_default()));
    let made = made.map_err(|source| {
        let folder = folder.display().to_string();
        OutputError::Folder { path: shown(), folder, source }
    })?;
    match there {
        Some(there) if !may_replace(&there, folder, made.file()).map_err(io_error(path))? => {
            Err(OutputError::Foreign { path: shown() })
        }
        _ => Ok(()),
    }
}

/// A new file beside `target`, `.pid-XXXXXX` and `suffix`.
pub(super) fn temporary(target: &Path, suffix: &OsStr) -> io::Result<Temporary> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).rand_bytes(RANDOM).suffix(suffix);
    Temporary::make(&builder, folder_of(target))
}

/// `name` without as much of its beginning as a temporary name puts before it, so that both are equally long; a name that
/// is no longer than that stays whole.
fn tail(name: &OsStr) -> OsString {
    let start = PREFIX.len() + RANDOM;
    if name.len() <= start {
        return name.to_owned();
    }
    if let Some(text) = name.to_str() {
        // Between two characters: some file systems take no others.
        let cut = (start..text.len()).find(|k| text.is_char_boundary(*k)).unwrap_or(text.len());
        return format!("{}{}", "-".repeat(cut - start), &text[cut..]).into();
    }
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(name.as_encoded_bytes()[start..].to_vec());
    #[cfg(not(unix))]
    name.to_owned()
}

/// A descriptor of this process or of another, by its name under `/dev/fd` or `/proc`. What such a link says of itself is
/// no path that leads there.
#[cfg(unix)]
fn open_elsewhere(at: &Path) -> Option<Place> {
    let name = at.file_name()?.to_str()?;
    let number = name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()))?;
    let folder = folder_of(at).canonicalize().ok()?;
    let is_ours = |own: &&str| Path::new(own).canonicalize().is_ok_and(|own| own == folder);
    if ["/proc/self/fd", "/proc/thread-self/fd", "/dev/fd"].iter().any(is_ours) {
        return Some(Place::Descriptor(number));
    }
    let is_others = folder.starts_with("/proc") && folder.ends_with("fd") && at.is_symlink();
    is_others.then(|| Place::Device(at.to_path_buf()))
}

#[cfg(not(unix))]
fn open_elsewhere(_: &Path) -> Option<Place> {
    None
}

/// What `there` is, if it is neither a file nor something to write bytes into one after the other.
#[cfg(unix)]
fn takes_nothing(there: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let kind = there.file_type();
    if kind.is_block_device() {
        Some("a disk")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn takes_nothing(_: &Metadata) -> Option<&'static str> {
    None
}

#[cfg(unix)]
fn check_access(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

#[cfg(not(unix))]
fn check_access(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Refuses a descriptor that is open for reading only.
#[cfg(unix)]
fn check_mode(file: File) -> io::Result<()> {
    use rustix::fs::OFlags;
    let mode = rustix::fs::fcntl_getfl(&file)? & OFlags::RWMODE;
    if mode == OFlags::RDONLY { Err(io::Error::other("it is open for reading only")) } else { Ok(()) }
}

#[cfg(not(unix))]
fn check_mode(_: File) -> io::Result<()> {
    Ok(())
}

/// Whether a file of this user's in `folder`, `made`, may take the place of `there`: where the folder has the sticky bit,
/// as /tmp has, only the file's and the folder's owner (and root) may.
#[cfg(unix)]
fn may_replace(there: &Metadata, folder: &Path, made: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    const STICKY: u32 = 0o1000;
    let (folder, user) = (std::fs::metadata(folder)?, made.metadata()?.uid());
    Ok(folder.mode() & STICKY == 0 || [0, there.uid(), folder.uid()].contains(&user))
}

#[cfg(not(unix))]
fn may_replace(_: &Metadata, _: &Path, _: &File) -> io::Result<bool> {
    Ok(true)
}

/// Opens a pipe or device for writing; with `only_if_read` a named pipe that nobody reads is an error.
#[cfg(unix)]
pub(super) fn append(path: &Path, only_if_read: bool) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let wait = if only_if_read { OFlags::NONBLOCK } else { OFlags::empty() };
    // A terminal that is written to does not become the one that controls this process.
    let flags = (OFlags::NOCTTY | wait).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    std::fs::OpenOptions::new().append(true).custom_flags(flags).open(path)
}

#[cfg(not(unix))]
pub(super) fn append(path: &Path, _: bool) -> io::Result<File> {
    std::fs::OpenOptions::new().append(true).open(path)
}

/// A second handle of an open descriptor: unlike one that is opened by name it writes where the first one stands, and
/// there is one for sockets and for files of other users, too.
#[cfg(unix)]
fn duplicate(number: i32) -> io::Result<File> {
    use std::os::fd::{BorrowedFd, OwnedFd};
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not -1, and it is borrowed for the one call below, which answers EBADF where nothing is open
    // under it; whoever owns the descriptor keeps it, the copy is ours.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let owned: OwnedFd = rustix::io::fcntl_dupfd_cloexec(borrowed, 0)?;
    Ok(owned.into())
}

#[cfg(not(unix))]
fn duplicate(_: i32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_has_the_length_of_the_name() {
        let random = "x".repeat(RANDOM);
        for name in ["a.png", "image-00000.png", &"y".repeat(255), &format!("{}.png", "\u{4e2d}\u{56fd}x".repeat(30))] {
            let made = format!("{PREFIX}{random}{}", tail(OsStr::new(name)).to_str().unwrap());
            let is_short = name.len() <= PREFIX.len() + RANDOM;
            assert_eq!(made.len(), name.len() + if is_short { 11 } else { 0 }, "{made}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn links_lead_to_what_they_name() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        symlink("sub/b", at("a")).unwrap();
        symlink("../c", at("sub/b")).unwrap();
        assert_eq!(Place::of(&at("a")).unwrap(), Place::File(at("sub/../c")), "dangling");
        symlink("/dev/null", at("null")).unwrap();
        assert_eq!(Place::of(&at("null")).unwrap(), Place::Device("/dev/null".into()));
        symlink("circle", at("circle")).unwrap();
        assert!(matches!(Place::of(&at("circle")), Err(OutputError::Links { .. })));
        symlink("sub", at("folder")).unwrap();
        assert!(matches!(Place::of(&at("folder")), Err(OutputError::Directory { .. })));
        assert!(matches!(Place::of(&at("new/")), Err(OutputError::Directory { .. })));
        symlink("none/x", at("nowhere")).unwrap();
        assert!(matches!(Place::of(&at("nowhere")), Err(OutputError::NoFolder { .. })));
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(matches!(Place::of(&at("socket")), Err(OutputError::Special { .. })));
        drop(socket);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn descriptors_are_known_by_every_name() {
        let own = std::process::id();
        let names =
            ["/dev/stdout".to_owned(), "/dev/fd/1".into(), "/proc/self/fd/1".into(), format!("/proc/{own}/fd/1")];
        for name in names {
            assert_eq!(Place::of(Path::new(&name)).unwrap(), Place::Descriptor(1), "{name}");
        }
        let closed = Place::of(Path::new("/dev/fd/987")).unwrap();
        assert!(closed.prove(Path::new("/dev/fd/987")).unwrap_err().to_string().contains("descriptor"));
        let read = File::open("/dev/null").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&read);
        let error = Place::Descriptor(number).prove(Path::new("x")).unwrap_err().to_string();
        assert!(error.contains("reading only"), "{error}");
    }
}
