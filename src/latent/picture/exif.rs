//! What a picture's Exif data say about how it is meant to be seen (Exif 2.32).

/// Exif data, with or without their `Exif\0\0`.
pub(super) struct Exif<'a> {
    bytes: &'a [u8],
    is_little: bool,
}

const ORIENTATION: usize = 274;
const EXIF_DIRECTORY: usize = 0x8769;
const COLOUR_SPACE: usize = 0xa001;
const INTEROPERABILITY_DIRECTORY: usize = 0xa005;
const INTEROPERABILITY_INDEX: usize = 1;

/// What Exif data say of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExifColours {
    Srgb,
    AdobeRgb,
    /// Neither, and nothing more is known.
    Uncalibrated,
}

impl<'a> Exif<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_prefix(b"Exif\0\0").unwrap_or(bytes);
        Self { bytes, is_little: bytes.starts_with(b"II") }
    }

    /// The number of `count` bytes at `at`.
    fn take(&self, at: usize, count: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(count)?)?;
        let digit = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
        Some(if self.is_little { bytes.iter().rev().fold(0, digit) } else { bytes.iter().fold(0, digit) })
    }

    /// Where the value of `tag` lies in the directory at `directory`, for values of up to four bytes.
    fn find(&self, directory: usize, tag: usize) -> Option<usize> {
        let entries = (0..self.take(directory, 2)?).map(|k| directory + 2 + 12 * k);
        let entry = entries.take_while(|at| *at < self.bytes.len()).find(|at| self.take(*at, 2) == Some(tag))?;
        Some(entry + 8)
    }

    /// The directory that `tag` of the directory at `directory` points to.
    fn directory(&self, directory: usize, tag: usize) -> Option<usize> {
        self.take(self.find(directory, tag)?, 4)
    }

    /// The orientation (1 to 8) in the first directory; 1 where there is none.
    pub(super) fn orientation(&self) -> u16 {
        let found = || u16::try_from(self.take(self.find(self.take(4, 4)?, ORIENTATION)?, 2)?).ok();
        found().filter(|value| (1..=8).contains(value)).unwrap_or(1)
    }

    /// The colour space, and with it the interoperability index: `R03` means Adobe RGB (DCF 2.0's optional space). Some
    /// cameras write it as colour space 2.
    pub(super) fn colours(&self) -> Option<ExifColours> {
        let exif = self.directory(self.take(4, 4)?, EXIF_DIRECTORY)?;
        let index = || {
            let at = self.find(self.directory(exif, INTEROPERABILITY_DIRECTORY)?, INTEROPERABILITY_INDEX)?;
            self.bytes.get(at..at + 3)
        };
        match self.take(self.find(exif, COLOUR_SPACE)?, 2)? {
            1 => Some(ExifColours::Srgb),
            2 => Some(ExifColours::AdobeRgb),
            0xffff if index() == Some(b"R03") => Some(ExifColours::AdobeRgb),
            0xffff => Some(ExifColours::Uncalibrated),
            _ => None,
        }
    }
}
