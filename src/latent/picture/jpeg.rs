//! JPEG files. Their segments are walked here, as libjpeg does: what lies between segments is skipped, and what is not
//! needed for the pixels (thumbnails, comments, what follows the end) never reaches the decoder.

use std::collections::BTreeMap;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::colour::{Model, Tag};
use super::exif::{Exif, ExifColours};
use super::{Samples, check_pixels, damaged};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP14: u8 = 0xee;
const APP15: u8 = 0xef;
const COM: u8 = 0xfe;

/// No JPEG file holds more pixels to a byte: a block of 64, of the component with the most of them, takes a bit or more.
const MOST_PIXELS_PER_BYTE: usize = 1024;

/// A frame header (ITU-T T.81, B.2.2).
struct Frame {
    marker: u8,
    width: usize,
    height: usize,
    /// Identifier of each component.
    components: Vec<u8>,
}

/// A file taken apart.
#[derive(Default)]
struct Parts<'a> {
    /// The same picture without what the decoder need not see.
    stream: Vec<u8>,
    frame: Option<Frame>,
    exif: Option<&'a [u8]>,
    /// Pieces of the profile by number, and how many there should be.
    icc: BTreeMap<u8, &'a [u8]>,
    icc_pieces: usize,
    /// The colour transform of Adobe's segment.
    adobe: Option<u8>,
    is_jfif: bool,
}

pub(super) fn samples(bytes: &[u8]) -> Result<Samples, String> {
    let parts = split(bytes).map_err(damaged_jpeg)?;
    let frame = parts.frame.as_ref().ok_or_else(|| damaged_jpeg("it has no frame header".into()))?;
    if !matches!(frame.marker, 0xc0..=0xc2) {
        let kind = format!("a JPEG file of the rare kind SOF{} (lossless or arithmetic coding)", frame.marker - 0xc0);
        return Err(format!("{kind} is not read; save it as a baseline or progressive one, or as .png"));
    }
    let (width, height) = (frame.width, frame.height);
    check_pixels(width, height)?;
    if width * height / MOST_PIXELS_PER_BYTE > bytes.len() {
        return Err(damaged_jpeg(format!("{width}x{height} pixels cannot come out of {} bytes", bytes.len())));
    }
    let (space, model) = match frame.components.len() {
        1 => (ColorSpace::Luma, Model::Grey),
        // What comes out in the colours it is stored in is not converted.
        3 if parts.is_stored_as_rgb(frame) && frame.components != *b"RGB" => (ColorSpace::YCbCr, Model::Rgb),
        3 => (ColorSpace::RGB, Model::Rgb),
        4 => (ColorSpace::CMYK, Model::Cmyk),
        n => return Err(format!("a JPEG file of {n} components is not read; 1 (grey), 3 (colour) and 4 (CMYK) are")),
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(space);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(parts.stream.as_slice()), options);
    let mut decoded = decoder.decode().map_err(|e| damaged_jpeg(e.to_string()))?;
    let channels = model.channels();
    if decoded.len() != width * height * channels {
        return Err(damaged_jpeg(format!("{} values for {width}x{height} pixels", decoded.len())));
    }
    if model == Model::Cmyk {
        ink(&mut decoded, parts.adobe == Some(2));
    }
    let exif = parts.exif.map(Exif::new);
    let orientation = exif.as_ref().map_or(1, Exif::orientation);
    let tag = parts.tag(exif.as_ref());
    Ok(Samples { bytes: decoded, model, has_alpha: false, is_wide: false, width, height, orientation, tag })
}

fn damaged_jpeg(message: String) -> String {
    damaged(".jpg", &message)
}

/// Four components as they are stored to ink, 255 the most of it. Files of four components hold the complement, as
/// Adobe's programs write it; `is_ycck` ones hold cyan, magenta and yellow as if they were red, green and blue of YCbCr
/// (JFIF's formulas).
fn ink(pixels: &mut [u8], is_ycck: bool) {
    for pixel in pixels.as_chunks_mut::<4>().0 {
        if is_ycck {
            let [y, blue, red] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
            let (blue, red) = (blue - 128.0, red - 128.0);
            let inks = [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue];
            let inks = inks.map(|v| v.round().clamp(0.0, 255.0) as u8);
            pixel[..3].copy_from_slice(&inks);
            pixel[3] = 255 - pixel[3];
        } else {
            *pixel = pixel.map(|v| 255 - v);
        }
    }
}

impl<'a> Parts<'a> {
    /// As libjpeg guesses it: a JFIF segment means YCbCr, else Adobe's segment tells, else the components' names.
    fn is_stored_as_rgb(&self, frame: &Frame) -> bool {
        !self.is_jfif && self.adobe.map_or(frame.components == *b"RGB", |transform| transform == 0)
    }

    /// What the file says about its colours: a profile before Exif.
    fn tag(&self, exif: Option<&Exif>) -> Tag {
        if self.icc_pieces > 0 {
            let is_whole = self.icc.keys().copied().map(usize::from).eq(1..=self.icc_pieces);
            return match is_whole {
                true => Tag::Icc(self.icc.values().copied().flatten().copied().collect()),
                false => Tag::Broken(format!("{} of its {} pieces are there", self.icc.len(), self.icc_pieces)),
            };
        }
        match exif.and_then(Exif::colours) {
            Some(ExifColours::AdobeRgb) => Tag::AdobeRgb,
            Some(ExifColours::Uncalibrated) => Tag::Uncalibrated,
            Some(ExifColours::Srgb) | None => Tag::None,
        }
    }

    /// Takes what is of use from a segment; whether the decoder needs it.
    fn keep(&mut self, marker: u8, body: &'a [u8]) -> Result<bool, String> {
        match marker {
            // Motion JPEG's, which stands for the usual Huffman tables, too.
            APP0 => {
                self.is_jfif |= body.starts_with(b"JFIF\0");
                return Ok(true);
            }
            APP1 if body.starts_with(b"Exif\0\0") => self.exif = self.exif.or(Some(body)),
            APP2 => {
                if let Some([number, pieces, data @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") {
                    self.icc_pieces = self.icc_pieces.max(usize::from(*pieces).max(1));
                    self.icc.entry(*number).or_insert(data);
                }
            }
            APP14 => {
                if let Some(body) = body.strip_prefix(b"Adobe") {
                    self.adobe = body.get(6).copied();
                }
            }
            APP1..=APP15 | COM => {}
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let &[_, y1, y0, x1, x0, count, ref components @ ..] = body else {
                    return Err("its frame header is too short".into());
                };
                if components.len() != 3 * usize::from(count) {
                    return Err(format!("its frame header is not one of {count} components"));
                }
                let number = |bytes: [u8; 2]| usize::from(u16::from_be_bytes(bytes));
                let (width, height) = (number([x1, x0]), number([y1, y0]));
                let components = components.chunks_exact(3).map(|c| c[0]).collect();
                self.frame.get_or_insert(Frame { marker, width, height, components });
                return Ok(true);
            }
            _ => return Ok(true),
        }
        Ok(false)
    }
}

/// Walks the segments.
fn split(bytes: &[u8]) -> Result<Parts<'_>, String> {
    let mut parts = Parts { stream: Vec::with_capacity(bytes.len()), ..Parts::default() };
    parts.stream.extend([0xff, SOI]);
    let mut at = 2;
    while let Some((marker, start)) = next_marker(bytes, at) {
        at = start;
        match marker {
            EOI => {
                parts.stream.extend([0xff, EOI]);
                break;
            }
            // Markers without a segment, which have no meaning here.
            0x01 | 0xd0..=SOI => continue,
            _ => {}
        }
        let length = bytes.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])));
        let body = length.filter(|n| *n >= 2).and_then(|n| bytes.get(at + 2..at + n));
        let body = body.ok_or_else(|| format!("it ends within a segment (marker ff{marker:02x}), or was cut short"))?;
        at += 2 + body.len();
        if parts.keep(marker, body)? {
            parts.stream.extend([0xff, marker]);
            parts.stream.extend_from_slice(&bytes[start..at]);
        }
        if marker == SOS {
            let end = scan_end(bytes, at);
            parts.stream.extend_from_slice(&bytes[at..end]);
            at = end;
        }
    }
    Ok(parts)
}

/// The next marker from `at` on, and where it ends. Bytes before it that belong to no segment are skipped, as are fill
/// bytes.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == 0xff)?;
        at += bytes.get(at..)?.iter().position(|b| *b != 0xff)?;
        if bytes[at] != 0 {
            return Some((bytes[at], at + 1));
        }
    }
}

/// Where the coded data from `at` on end: at a marker that is no restart.
fn scan_end(bytes: &[u8], at: usize) -> usize {
    let ends = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
    bytes[at..].windows(2).position(ends).map_or(bytes.len(), |n| at + n)
}
