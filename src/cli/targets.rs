//! The one rule for all that a command writes, looked after before its work: a name says what is written, nothing that is
//! read is written over, no two results are one file, and each can be made.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

use super::report::{self, CliError};
use super::{shown, signals};
use crate::output::{self, Identity, MadeFolders, OutputError, Pending, Place};

/// What a result is, which its extension has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Picture,
    Latent,
    Checkpoint,
    Drawing,
    Page,
    /// For machines: `--save`, `--tuning`.
    Table,
    #[cfg_attr(not(any(feature = "cuda", feature = "emulator")), allow(dead_code))]
    Junit,
}

impl Kind {
    /// Its name in messages, and its extensions.
    fn names(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Picture => ("a picture", &["png", "jpg", "jpeg", "safetensors"]),
            Self::Latent => ("a latent", &["safetensors"]),
            Self::Checkpoint => ("a checkpoint", &["safetensors"]),
            Self::Drawing => ("a drawing", &["svg"]),
            Self::Page => ("a page", &["html"]),
            Self::Table => ("a table", &["json"]),
            Self::Junit => ("a JUnit result", &["xml"]),
        }
    }

    /// Pipes and devices may have any name but one of another kind of file.
    fn check(self, path: &Path, is_stream: bool) -> Result<(), CliError> {
        const OTHERS: [&str; 14] = [
            "png",
            "jpg",
            "jpeg",
            "safetensors",
            "svg",
            "html",
            "json",
            "xml",
            "pth",
            "pt",
            "ckpt",
            "npy",
            "npz",
            "txt",
        ];
        let (what, extensions) = self.names();
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_free = is_stream && !OTHERS.contains(&extension.as_str());
        if is_free || extensions.contains(&extension.as_str()) {
            Ok(())
        } else if self == Self::Picture {
            Err(OutputError::Extension { path: shown(path), extension }.into())
        } else {
            Err(CliError::failed(format!("{}: {what} is written as .{}", shown(path), extensions.join(" or ."))))
        }
    }
}

/// `--out` and its like: `-` is standard output.
pub(super) fn output_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| if path == Path::new("-") { "/dev/stdout".into() } else { path })
}

/// Whether a result goes to a pipe or device, which has nothing beside it.
pub(super) fn is_stream(path: &Path) -> bool {
    Place::of(path).is_ok_and(|place| place.is_stream())
}

/// What a command reads and writes.
#[derive(Debug)]
pub(super) struct Targets {
    sources: Vec<Identity>,
    /// Each with the flag that names it.
    claimed: Vec<(&'static str, Identity)>,
    /// Held to the end of the command.
    pipes: Vec<Pipe>,
    folders: Vec<MadeFolders>,
}

/// A named pipe that a result goes to.
#[derive(Debug)]
struct Pipe {
    path: PathBuf,
    place: Place,
    /// Open as soon as somebody reads.
    held: Option<File>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.held.is_none() {
            // Whoever has come to read since then, and got nothing: that is all.
            drop(self.place.hold());
        }
    }
}

impl Targets {
    /// Of a command that reads `sources`.
    pub(super) fn reading<'a>(sources: impl IntoIterator<Item = &'a Path>) -> Self {
        let sources = sources.into_iter().filter_map(Identity::of).collect();
        Self { sources, claimed: Vec::new(), pipes: Vec::new(), folders: Vec::new() }
    }

    /// Takes note that `flag` writes to `path`, and proves that it can.
    ///
    /// # Errors
    /// What breaks the rule, with the path as it was given.
    pub(super) fn add(&mut self, flag: &'static str, path: &Path, kind: Kind) -> Result<(), CliError> {
        let place = Place::of(path)?;
        kind.check(path, place.is_stream())?;
        self.claim(flag, path, &place)?;
        place.prove(path)?;
        if place.is_stream() {
            let held = place.hold();
            self.pipes.push(Pipe { path: path.to_path_buf(), place, held });
        }
        Ok(())
    }

    /// Takes note that `flag` turned out to write `batch` pictures.
    ///
    /// # Errors
    /// As [`Self::add`], for the file of every picture.
    pub(super) fn add_batch(&mut self, flag: &'static str, path: &Path, batch: usize) -> Result<(), CliError> {
        let files = output::files(path, batch)?;
        if files.len() > 1 {
            for file in &files {
                self.add(flag, file, Kind::Picture)?;
            }
        }
        Ok(())
    }

    /// Makes the folder of a result; it goes again where nothing is put into it.
    ///
    /// # Errors
    /// When it cannot be made; `what` is its name in the message.
    pub(super) fn make_folder(&mut self, what: &str, folder: &Path) -> Result<(), CliError> {
        let made = MadeFolders::make(folder);
        let made = made.map_err(|e| CliError::failed(format!("{what} {} cannot be made: {e}", shown(folder))))?;
        self.folders.push(made);
        Ok(())
    }

    fn claim(&mut self, flag: &'static str, path: &Path, place: &Place) -> Result<(), CliError> {
        let is_stdout = *place == Place::Descriptor(1);
        if let Some(identity) = place.identity().filter(|_| !place.is_character_device()) {
            if self.sources.contains(&identity) {
                let message = format!("{} is read and would be written over; name another file", shown(path));
                return Err(CliError::usage(message));
            }
            if let Some((other, _)) = self.claimed.iter().find(|(_, claimed)| *claimed == identity) {
                return Err(CliError::usage(format!("{flag} and {other} both name {}", shown(path))));
            }
            self.check_standard(flag, path, place, &identity)?;
            self.claimed.push((flag, identity));
        }
        if is_stdout {
            report::leave_stdout();
        }
        Ok(())
    }

    /// Keeps results and messages apart: the report leaves standard output where a result goes.
    fn check_standard(&self, flag: &str, path: &Path, place: &Place, identity: &Identity) -> Result<(), CliError> {
        let leads_there = |number| Place::Descriptor(number).identity().as_ref() == Some(identity);
        let clash = |stream| {
            let path = shown(path);
            Err(CliError::usage(format!("{flag} {path} is where {stream} goes, which has messages; name another file")))
        };
        if leads_there(2) {
            return clash("standard error");
        }
        match place.is_stream() {
            _ if !leads_there(1) => Ok(()),
            true => {
                report::leave_stdout();
                Ok(())
            }
            false => clash("standard output"),
        }
    }

    /// Gives results their names, all or none.
    ///
    /// # Errors
    /// When a signal asked to stop, the reader of a pipe has gone, or one of them cannot be written.
    pub(super) fn commit(&self, pending: Vec<Pending>) -> Result<Vec<PathBuf>, CliError> {
        signals::check()?;
        if let Some(left) = self.pipes.iter().find(|pipe| pipe.held.is_some() && pipe.place.hold().is_none()) {
            return Err(CliError::failed(format!("{}: its reader has gone", shown(&left.path))));
        }
        Ok(output::commit_all(pending)?)
    }
}

/// A text that waits for its name.
pub(super) fn stage_text(path: &Path, text: &str) -> Result<Pending, CliError> {
    Ok(Pending::write(path, |file| {
        file.write_all(text.as_bytes()).map_err(|source| OutputError::Io { path: shown(path), source })
    })?)
}
