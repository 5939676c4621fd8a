//! Pictures to files: PNG, JPEG or safetensors, whole or not at all.

mod atomic;
mod encode;
#[cfg(feature = "cli")]
mod identity;
#[cfg(feature = "cli")]
mod panel;
mod place;
pub(crate) mod svg;
mod unfinished;

pub use atomic::write_atomic;
pub(crate) use atomic::{Pending, commit_all};
#[cfg(feature = "cli")]
pub(crate) use identity::{Identity, MadeFolders};
#[cfg(feature = "cli")]
pub(crate) use panel::side_by_side;
pub(crate) use place::Place;
pub use unfinished::abandon;

use std::path::{Path, PathBuf};

use encode::Format;

use crate::parallel;

/// Decoded pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// `[B, 3, H, W]` in [-1, 1].
    pub data: Vec<f32>,
    /// `B`.
    pub batch: usize,
    /// `H`.
    pub height: usize,
    /// `W`.
    pub width: usize,
}

/// What a file records about its making: `(keyword, text)`.
pub type PictureInfo = Vec<(String, String)>;

/// The program, as files name it.
pub(crate) const SOFTWARE: &str = concat!("pid-engine ", env!("CARGO_PKG_VERSION"));

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum OutputError {
    #[error("{path}: unknown picture format `{extension}`; use .png, .jpg, .jpeg or .safetensors")]
    Extension { path: String, extension: String },
    #[error("{path} is a directory; name a file in it")]
    Directory { path: String },
    #[error("{path}: the folder {folder} does not exist; create it first")]
    NoFolder { path: String, folder: String },
    #[error("{path} is {what}; name a file, a pipe or a character device")]
    Special { path: String, what: &'static str },
    #[error("{path}: its symbolic links lead to no end; remove them or name another file")]
    Links { path: String },
    #[error("{path} is read-only and stays as it is; make it writable (chmod u+w) or name another file")]
    ReadOnly { path: String },
    #[error("{path} is another user's file in a folder where only its owner may replace it; name another file")]
    Foreign { path: String },
    #[error("{path} cannot be made in the folder {folder}: {source}")]
    Folder { path: String, folder: String, source: std::io::Error },
    #[error("{path} cannot be written: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("{path}: {message}")]
    Encode { path: String, message: String },
}

impl Picture {
    /// Sample `sample` as interleaved 8-bit RGB, `round((x + 1) * 127.5)`, row by row.
    pub fn to_rgb8(&self, sample: usize) -> Vec<u8> {
        let plane = self.height * self.width;
        let data = &self.data[sample * 3 * plane..(sample + 1) * 3 * plane];
        let mut rgb = vec![0; 3 * plane];
        parallel::pieces(&mut rgb, 3 * self.width, &|y, row| {
            for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                for (c, value) in pixel.iter_mut().enumerate() {
                    *value = ((data[c * plane + y * self.width + x] + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
                }
            }
        });
        rgb
    }

    /// The middle of every sample, `width` x `height`.
    ///
    /// # Panics
    /// When that is larger than the picture.
    #[must_use]
    pub fn middle(self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let (left, top) = ((self.width - width) / 2, (self.height - height) / 2);
        let rows = self.data.chunks_exact(self.width).enumerate();
        let kept = rows.filter(|(row, _)| (top..top + height).contains(&(row % self.height)));
        let data = kept.flat_map(|(_, row)| &row[left..left + width]).copied().collect();
        Self { data, batch: self.batch, height, width }
    }

    /// Peak signal-to-noise ratio to `other` over all values, both clamped to [-1, 1]; infinite where they are equal,
    /// `None` where they differ in size.
    pub fn psnr_db(&self, other: &Self) -> Option<f64> {
        let size = |p: &Self| (p.batch, p.height, p.width, p.data.len());
        if size(self) != size(other) {
            return None;
        }
        let squared = |(a, b): (&f32, &f32)| f64::from(a.clamp(-1.0, 1.0) - b.clamp(-1.0, 1.0)).powi(2);
        let mean = self.data.iter().zip(&other.data).map(squared).sum::<f64>() / self.data.len() as f64;
        Some(10.0 * (4.0 / mean).log10())
    }
}

/// Tells before a long decode whether `batch` pictures can be written to `path`: a file with the length of each name is
/// made in the folder, and removed.
///
/// # Errors
/// When its extension is unknown, its folder is missing or not to be written, a name is too long, or what is there may not
/// be replaced.
pub fn check_target(path: &Path, batch: usize) -> Result<(), OutputError> {
    files(path, batch)?.iter().try_for_each(|file| Place::of(file)?.prove(file))
}

/// The files that `batch` pictures are written to: one for a single picture, safetensors, or a pipe or device;
/// `name-0.png`, `name-1.png`, ... for others.
///
/// # Errors
/// When the extension is unknown, or `path` cannot be written to at all.
pub fn files(path: &Path, batch: usize) -> Result<Vec<PathBuf>, OutputError> {
    let is_stream = Place::of(path)?.is_stream();
    let is_one = Format::of(path, is_stream)? == Format::Safetensors || batch == 1 || is_stream;
    Ok(if is_one { vec![path.to_path_buf()] } else { (0..batch).map(|b| numbered(path, b)).collect() })
}

/// Writes the pictures to their [`files`], and returns those. All files are complete before the first gets its name. What
/// is no regular file (a pipe, a device) gets the pictures of a batch one after the other, as PNG where its extension does
/// not say otherwise.
///
/// # Errors
/// When a file cannot be encoded or written; then none is left, and what was there before stays.
pub fn save(picture: &Picture, path: &Path, info: &PictureInfo) -> Result<Vec<PathBuf>, OutputError> {
    commit_all(stage(picture, path, info)?)
}

/// As [`save`], but the files wait for their names.
pub(crate) fn stage(picture: &Picture, path: &Path, info: &PictureInfo) -> Result<Vec<Pending>, OutputError> {
    let format = Format::of(path, Place::of(path)?.is_stream())?;
    let targets = files(path, picture.batch)?;
    let num_samples = if format == Format::Safetensors { 1 } else { picture.batch / targets.len() };
    let write = |(index, target): (usize, &PathBuf)| {
        Pending::write(target, |file| {
            let mut samples = index * num_samples..(index + 1) * num_samples;
            samples.try_for_each(|sample| encode::encode(format, picture, sample, info, target, file))
        })
    };
    targets.iter().enumerate().map(write).collect()
}

/// `image.png`, 3 -> `image-3.png`.
fn numbered(path: &Path, index: usize) -> PathBuf {
    beside(path, &format!("-{index}"), path.extension().unwrap_or_default())
}

/// `path` with `suffix` before its extension, and that extension: `out.png`, `-plan`, `svg` -> `out-plan.svg`. A name that
/// is no Unicode keeps its bytes.
pub(crate) fn beside(path: &Path, suffix: &str, extension: impl AsRef<std::ffi::OsStr>) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(suffix);
    name.push(".");
    name.push(extension);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(batch: usize) -> Picture {
        let data = (0..batch * 3 * 4 * 6).map(|i| (i as f32 * 0.37).sin()).collect();
        Picture { data, batch, height: 4, width: 6 }
    }

    #[test]
    fn rounds_to_the_nearest_level() {
        let data = vec![-1.0, 1.0, 0.0, -1.5, 2.0, -0.996];
        let picture = Picture { data, batch: 1, height: 1, width: 2 };
        assert_eq!(picture.to_rgb8(0), [0, 128, 255, 255, 0, 1]);
    }

    #[test]
    fn psnr_of_known_errors() {
        let flat = |value: f32, width| Picture { data: vec![value; 3 * width], batch: 1, height: 1, width };
        assert_eq!(flat(-1.0, 2).psnr_db(&flat(1.5, 2)), Some(0.0));
        let db = flat(0.5, 2).psnr_db(&flat(0.3, 2)).unwrap();
        assert!((db - 20.0).abs() < 1e-5, "{db}");
        assert_eq!(flat(0.5, 2).psnr_db(&flat(0.5, 2)), Some(f64::INFINITY));
        assert_eq!(flat(0.5, 2).psnr_db(&flat(0.5, 3)), None);
    }

    #[test]
    fn png_reads_back_with_its_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let info = vec![("pid.seed".to_owned(), "7".to_owned()), ("note".to_owned(), "\u{4e2d}".to_owned())];
        assert_eq!(save(&picture(1), &path, &info).unwrap(), std::slice::from_ref(&path));
        let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, picture(1).to_rgb8(0));
        assert_eq!(reader.info().uncompressed_latin1_text[0].text, "7");
        assert_eq!(reader.info().utf8_text[0].get_text().unwrap(), "\u{4e2d}");
    }

    #[test]
    fn batches_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let files = save(&picture(2), &folder.path().join("b.jpg"), &Vec::new()).unwrap();
        assert_eq!(files, [folder.path().join("b-0.jpg"), folder.path().join("b-1.jpg")]);
        assert!(files.iter().all(|f| std::fs::read(f).unwrap().starts_with(&[0xff, 0xd8])));
    }

    #[test]
    fn a_failure_leaves_nothing_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        // The second picture's name is taken by a directory.
        std::fs::create_dir(folder.path().join("c-1.png")).unwrap();
        assert!(save(&picture(2), &folder.path().join("c.png"), &Vec::new()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let old = folder.path().join("old.txt");
        std::fs::write(&old, "old").unwrap();
        let failure = write_atomic(&old, |_| Err(std::io::Error::other("no")));
        assert!(failure.is_err());
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "old");
    }

    #[test]
    fn targets_are_checked_ahead() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_target(&folder.path().join("a.PNG"), 1).is_ok());
        for (name, word) in [("a.bmp", "bmp"), ("a", "safetensors"), ("x/a.png", "does not exist")] {
            let text = check_target(&folder.path().join(name), 1).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
        std::fs::create_dir(folder.path().join("d.png")).unwrap();
        assert!(matches!(check_target(&folder.path().join("d.png"), 1), Err(OutputError::Directory { .. })));
    }
}
