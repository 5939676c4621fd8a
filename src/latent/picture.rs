//! Pictures to encode, from PNG and JPEG files, told apart by content: 8 or 16 bits, grey, RGB or CMYK, converted to sRGB
//! as their profiles say and turned upright as their Exif data say.
//!
//! Files are not trusted: whatever a decoder does with one is an error, and no more is allocated than the file's size
//! times a constant, or than [`MOST_PIXELS`] take.

mod colour;
mod exif;
mod jpeg;
mod png;

use std::path::Path;

use rayon::prelude::*;

pub use colour::{Colour, SourceProfile};

use super::guard::guarded;
use super::{InputError, input};
use crate::output::Picture;
use colour::{Colours, Conversion, Model, Tag};

/// A header may promise any size. This is eight times the largest picture that the networks were trained for, and
/// 1.6 GB of values.
const MOST_PIXELS: usize = 1 << 27;

const PNG_MAGIC: &[u8] = b"\x89PNG";
const JPEG_MAGIC: &[u8] = b"\xff\xd8";

/// Pixels converted at a time.
const BLOCK: usize = 1 << 14;

/// A decoded file: interleaved samples, big-endian where they are 16 bits wide.
struct Samples {
    bytes: Vec<u8>,
    model: Model,
    /// Whether a sample for the opacity follows those of the model.
    has_alpha: bool,
    is_wide: bool,
    width: usize,
    height: usize,
    orientation: u16,
    tag: Tag,
}

/// A picture as it was read, and what was found out about its file.
#[derive(Clone, Debug)]
pub struct PictureFile {
    /// `[1, 3, H, W]` in [-1, 1], sRGB.
    pub picture: Picture,
    /// The colour space that the file names; `None` where it names none, which is taken for sRGB.
    pub profile: Option<SourceProfile>,
    /// What a reader of the picture should know.
    pub warnings: Vec<String>,
}

impl PictureFile {
    /// Reads a picture; `-` is standard input. One that is not opaque is laid on `background`.
    ///
    /// # Errors
    /// When the file cannot be read, is neither PNG nor JPEG, is damaged or cut short, has more than 2^27 pixels, or
    /// has a pixel that is not opaque and no background is given.
    pub fn open(path: &Path, background: Option<Colour>) -> Result<Self, InputError> {
        Self::from_bytes(path, &input::read(path)?, background)
    }

    /// As [`Self::open`], of contents that were read already; `path` is what messages name.
    ///
    /// # Errors
    /// As there.
    pub fn from_bytes(path: &Path, bytes: &[u8], background: Option<Colour>) -> Result<Self, InputError> {
        let mut file = Self::decode(bytes, background).map_err(|message| input::fail(path, &message))?;
        file.warnings.iter_mut().for_each(|warning| *warning = format!("{}: {warning}", input::shown(path)));
        Ok(file)
    }

    fn decode(bytes: &[u8], background: Option<Colour>) -> Result<Self, String> {
        let samples = if bytes.starts_with(PNG_MAGIC) {
            guarded(|| png::samples(bytes)).map_err(|panic| damaged(".png", &panic))??
        } else if bytes.starts_with(JPEG_MAGIC) {
            guarded(|| jpeg::samples(bytes)).map_err(|panic| damaged(".jpg", &panic))??
        } else {
            return Err(crate::kind::unexpected(bytes, "a picture, .png or .jpg"));
        };
        let Colours { conversion, profile, warning } = colour::colours(&samples.tag, samples.model)?;
        let background = opacity(&samples, background)?;
        let picture = samples.planes(conversion.as_ref(), background)?;
        let picture = upright(picture, samples.orientation);
        Ok(Self { picture, profile, warnings: warning.into_iter().collect() })
    }
}

/// Reads an opaque picture, `[1, 3, H, W]` in [-1, 1]: [`PictureFile::open`] for those who need nothing else of it.
///
/// A decoder that panics is an error. So that this prints nothing, the first picture read puts a panic hook before the
/// process's own, which other threads' panics reach as before.
///
/// # Errors
/// As there.
pub fn read_picture(path: &Path) -> Result<Picture, InputError> {
    PictureFile::open(path, None).map(|file| file.picture)
}

fn damaged(extension: &str, message: &str) -> String {
    format!("damaged {extension} file: {message}")
}

fn check_pixels(width: usize, height: usize) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(0) => Err(format!("it has no pixels: {width}x{height}")),
        Some(pixels) if pixels <= MOST_PIXELS => Ok(()),
        _ => Err(format!(
            "it is too large: {width}x{height}, {} megapixels, and at most {} ({MOST_PIXELS} pixels) are read; scale it down first",
            (width as u128 * height as u128).div_ceil(1_000_000),
            MOST_PIXELS / 1_000_000
        )),
    }
}

/// Opacity of editors that was meant to be full: 251 of 255 and more.
const NEARLY_OPAQUE: f32 = 0.98;

/// The background that is needed, in [-1, 1]; none for an opaque picture.
fn opacity(samples: &Samples, background: Option<Colour>) -> Result<Option<[f32; 3]>, String> {
    if !samples.has_alpha {
        return Ok(None);
    }
    let most = samples.most();
    let alpha = |i: usize| samples.value(i * samples.channels() + samples.model.channels());
    let plane = samples.width * samples.height;
    let mut clear = (0..plane).filter(|i| alpha(*i) != most);
    let Some(first) = clear.next() else { return Ok(None) };
    if let Some(background) = background {
        return Ok(Some(background.values()));
    }
    let (count, least) = clear.fold((1, alpha(first)), |(count, least), i| (count + 1, least.min(alpha(i))));
    let nearly = f32::from(least) >= NEARLY_OPAQUE * f32::from(most);
    let how = if nearly { "nearly opaque, as some editors leave them" } else { "not opaque" };
    let (x, y, at) = (first % samples.width, first / samples.width, alpha(first));
    Err(format!(
        "{count} of {plane} pixels are {how} (alpha {least} of {most} or more), the first at ({x}, {y}) with {at} of {most}; \
         --flatten white (or black, or #rrggbb) lays the picture on that colour"
    ))
}

impl Samples {
    fn channels(&self) -> usize {
        self.model.channels() + usize::from(self.has_alpha)
    }

    /// The value that stands for 1.
    fn most(&self) -> u16 {
        if self.is_wide { u16::MAX } else { u8::MAX.into() }
    }

    fn value(&self, i: usize) -> u16 {
        match self.is_wide {
            true => u16::from_be_bytes([self.bytes[2 * i], self.bytes[2 * i + 1]]),
            false => u16::from(self.bytes[i]),
        }
    }

    /// Planes of red, green and blue of sRGB, laid on `background` where they are not opaque.
    fn planes(&self, conversion: Option<&Conversion>, background: Option<[f32; 3]>) -> Result<Picture, String> {
        let plane = self.width * self.height;
        let mut data = vec![0.0; 3 * plane];
        let (red, rest) = data.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let blocks = red.par_chunks_mut(BLOCK).zip(green.par_chunks_mut(BLOCK)).zip(blue.par_chunks_mut(BLOCK));
        blocks.enumerate().try_for_each(|(block, ((red, green), blue))| {
            let first = block * BLOCK;
            match conversion {
                Some(conversion) => self.convert(conversion, first, [red, green, blue])?,
                None => self.copy(first, [red, green, blue]),
            }
            if let Some(background) = background {
                self.flatten(background, first, [red, green, blue]);
            }
            Ok::<(), String>(())
        })?;
        Ok(Picture { data, batch: 1, height: self.height, width: self.width })
    }

    /// The values as they are, from pixel `first` on.
    fn copy(&self, first: usize, planes: [&mut [f32]; 3]) {
        let (channels, half) = (self.channels(), f32::from(self.most()) / 2.0);
        for (c, plane) in planes.into_iter().enumerate() {
            for (i, out) in plane.iter_mut().enumerate() {
                let value = |c: usize| f32::from(self.value((first + i) * channels + c));
                *out = match self.model {
                    Model::Grey => value(0) / half - 1.0,
                    Model::Rgb => value(c) / half - 1.0,
                    // What each ink leaves of the light that black leaves.
                    Model::Cmyk => (1.0 - value(c) / (2.0 * half)) * (1.0 - value(3) / (2.0 * half)) * 2.0 - 1.0,
                };
            }
        }
    }

    /// The values by `conversion`, from pixel `first` on.
    fn convert(&self, conversion: &Conversion, first: usize, planes: [&mut [f32]; 3]) -> Result<(), String> {
        let (channels, most) = (self.channels(), f32::from(self.most()));
        let own = |c: usize| if self.model == Model::Grey { 0 } else { c };
        let pixels = first..first + planes[0].len();
        let values = pixels.flat_map(|i| (0..conversion.channels).map(move |c| i * channels + own(c)));
        let values: Vec<f32> = values.map(|i| f32::from(self.value(i)) / most).collect();
        let rgb = conversion.apply(values)?;
        for (c, plane) in planes.into_iter().enumerate() {
            plane.iter_mut().zip(rgb.iter().skip(c).step_by(3)).for_each(|(out, v)| *out = 2.0 * v - 1.0);
        }
        Ok(())
    }

    /// Lays values on a background, in sRGB's own numbers, as editors do.
    fn flatten(&self, background: [f32; 3], first: usize, planes: [&mut [f32]; 3]) {
        let (channels, most) = (self.channels(), f32::from(self.most()));
        for (plane, behind) in planes.into_iter().zip(background) {
            for (i, out) in plane.iter_mut().enumerate() {
                let alpha = f32::from(self.value((first + i + 1) * channels - 1)) / most;
                *out = alpha * *out + (1.0 - alpha) * behind;
            }
        }
    }
}

/// The picture as it is meant to be seen.
fn upright(picture: Picture, orientation: u16) -> Picture {
    if orientation == 1 {
        return picture;
    }
    let (height, width) = (picture.height, picture.width);
    let is_turned = orientation >= 5;
    let (new_height, new_width) = if is_turned { (width, height) } else { (height, width) };
    let source = |y: usize, x: usize| match orientation {
        2 => (y, width - 1 - x),
        3 => (height - 1 - y, width - 1 - x),
        4 => (height - 1 - y, x),
        5 => (x, y),
        6 => (height - 1 - x, y),
        7 => (height - 1 - x, width - 1 - y),
        8 => (x, width - 1 - y),
        _ => (y, x),
    };
    let planes = picture.data.chunks_exact(height * width);
    let places = || (0..new_height * new_width).map(|i| source(i / new_width, i % new_width));
    let data = planes.flat_map(|plane| places().map(|(y, x)| plane[y * width + x])).collect();
    Picture { data, batch: picture.batch, height: new_height, width: new_width }
}

#[cfg(test)]
mod tests;
