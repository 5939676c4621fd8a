//! Pictures to encode, from PNG and JPEG files, told apart by content: 8 or 16 bits, grey or RGB, turned upright as
//! their Exif data say. Colour profiles are not applied.

use std::io::Cursor;
use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::InputError;
use crate::output::Picture;

/// A header may promise any size. This is eight times the largest picture that the networks were trained for, and
/// 1.6 GB of values.
const MOST_PIXELS: usize = 1 << 27;

const PNG_MAGIC: &[u8] = b"\x89PNG";
const JPEG_MAGIC: &[u8] = b"\xff\xd8";

/// A decoded file: interleaved samples, big-endian where they are 16 bits wide.
struct Samples {
    bytes: Vec<u8>,
    channels: usize,
    is_wide: bool,
    width: usize,
    height: usize,
    orientation: u16,
}

/// Reads a picture, `[1, 3, H, W]` in [-1, 1].
///
/// # Errors
/// When the file cannot be read, is neither PNG nor JPEG, is damaged or cut short, has more than 2^27 pixels, or
/// has a pixel that is not opaque.
pub fn read_picture(path: &Path) -> Result<Picture, InputError> {
    let fail = |message: String| InputError::File { path: path.display().to_string(), message };
    let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    let samples = if bytes.starts_with(PNG_MAGIC) {
        png_samples(&bytes).map_err(|e| fail(format!("damaged .png file: {e}")))?
    } else if bytes.starts_with(JPEG_MAGIC) {
        jpeg_samples(&bytes).map_err(|e| fail(format!("damaged .jpg file: {e}")))?
    } else {
        return Err(fail(crate::kind::unexpected(&bytes, "a picture, .png or .jpg")));
    };
    Ok(upright(opaque(&samples).map_err(fail)?, samples.orientation))
}

fn text(error: impl std::fmt::Debug + std::fmt::Display) -> String {
    error.to_string()
}

fn check_pixels(width: usize, height: usize) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(pixels) if (1..=MOST_PIXELS).contains(&pixels) => Ok(()),
        _ => Err(format!("{width}x{height} pixels; from 1 to {MOST_PIXELS} are read")),
    }
}

fn png_samples(bytes: &[u8]) -> Result<Samples, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(text)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_pixels(width, height)?;
    let orientation = reader.info().exif_metadata.as_deref().map_or(1, orientation);
    let size = reader.output_buffer_size().ok_or_else(|| format!("{width}x{height} pixels"))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(text)?;
    reader.finish().map_err(text)?;
    let is_wide = frame.bit_depth == png::BitDepth::Sixteen;
    Ok(Samples { bytes, channels: frame.color_type.samples(), is_wide, width, height, orientation })
}

fn jpeg_samples(bytes: &[u8]) -> Result<Samples, String> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(text)?;
    let (width, height) = decoder.dimensions().ok_or("no frame header")?;
    check_pixels(width, height)?;
    let orientation = decoder.exif().map_or(1, |exif| orientation(exif));
    let bytes = decoder.decode().map_err(text)?;
    Ok(Samples { bytes, channels: 3, is_wide: false, width, height, orientation })
}

/// Planes of red, green and blue.
fn opaque(samples: &Samples) -> Result<Picture, String> {
    let Samples { channels, width, height, .. } = *samples;
    let plane = width * height;
    let most = if samples.is_wide { u16::MAX } else { u16::from(u8::MAX) };
    let sample = |i: usize| match samples.is_wide {
        true => u16::from_be_bytes([samples.bytes[2 * i], samples.bytes[2 * i + 1]]),
        false => u16::from(samples.bytes[i]),
    };
    let has_alpha = channels.is_multiple_of(2);
    if has_alpha && let Some(i) = (0..plane).find(|i| sample(i * channels + channels - 1) != most) {
        let (x, y, alpha) = (i % width, i / width, sample(i * channels + channels - 1));
        return Err(format!("pixel ({x}, {y}) is not opaque (alpha {alpha} of {most}); lay it on a background first"));
    }
    let half = f32::from(most) / 2.0;
    let colour = |c: usize| if channels < 3 { 0 } else { c };
    let value = |c: usize, i: usize| f32::from(sample(i * channels + colour(c))) / half - 1.0;
    let data = (0..3 * plane).map(|i| value(i / plane, i % plane)).collect();
    Ok(Picture { data, batch: 1, height, width })
}

/// The orientation (1 to 8) in the first directory of Exif data (Exif 2.32, tag 274); 1 where there is none.
fn orientation(exif: &[u8]) -> u16 {
    const TAG: u16 = 274;
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let is_little = exif.starts_with(b"II");
    let take = |at: usize, count: usize| {
        let bytes = exif.get(at..at.checked_add(count)?)?;
        let digit = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
        Some(if is_little { bytes.iter().rev().fold(0, digit) } else { bytes.iter().fold(0, digit) })
    };
    let find = || {
        let directory = take(4, 4)?;
        let entries = (0..take(directory, 2)?).map(|k| directory + 2 + 12 * k);
        let entry = entries.take_while(|at| *at < exif.len()).find(|at| take(*at, 2) == Some(TAG.into()))?;
        u16::try_from(take(entry + 8, 2)?).ok()
    };
    find().filter(|value| (1..=8).contains(value)).unwrap_or(1)
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
