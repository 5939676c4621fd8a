//! PNG files, 8 or 16 bits.

use std::io::Cursor;

use super::colour::{Model, Tag};
use super::exif::{Exif, ExifColours};
use super::{Samples, check_pixels, damaged};

/// Deflate makes at most this many bytes of one.
const MOST_INFLATED: usize = 1032;

pub(super) fn samples(bytes: &[u8]) -> Result<Samples, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(damaged_png)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_pixels(width, height)?;
    if reader.info().raw_bytes() / MOST_INFLATED > bytes.len() {
        return Err(damaged(".png", &format!("{width}x{height} pixels cannot come out of {} bytes", bytes.len())));
    }
    let exif = reader.info().exif_metadata.clone();
    let exif = exif.as_deref().map(Exif::new);
    let orientation = exif.as_ref().map_or(1, Exif::orientation);
    let tag = tag(reader.info(), bytes, exif.as_ref());
    let size = reader.output_buffer_size().ok_or_else(|| damaged(".png", &format!("{width}x{height} pixels")))?;
    let mut decoded = vec![0; size];
    let frame = reader.next_frame(&mut decoded).map_err(damaged_png)?;
    reader.finish().map_err(damaged_png)?;
    let is_wide = frame.bit_depth == png::BitDepth::Sixteen;
    let channels = frame.color_type.samples();
    let model = if channels < 3 { Model::Grey } else { Model::Rgb };
    Ok(Samples {
        bytes: decoded,
        model,
        has_alpha: channels.is_multiple_of(2),
        is_wide,
        width,
        height,
        orientation,
        tag,
    })
}

fn damaged_png(error: png::DecodingError) -> String {
    damaged(".png", &error.to_string())
}

/// What the file says about its colours, in the order of precedence of PNG's third edition (section 4.3).
fn tag(info: &png::Info, bytes: &[u8], exif: Option<&Exif>) -> Tag {
    if let Some(points) = info.coding_independent_code_points {
        return Tag::Cicp {
            primaries: points.color_primaries,
            transfer: points.transfer_function,
            matrix: points.matrix_coefficients,
            is_full_range: points.is_video_full_range_image,
        };
    }
    if let Some(profile) = &info.icc_profile {
        return Tag::Icc(profile.to_vec());
    }
    // The decoder leaves out a profile that it cannot inflate.
    if has_profile(bytes) {
        return Tag::Broken("it cannot be inflated".into());
    }
    if info.srgb.is_some() {
        return Tag::Srgb;
    }
    let gamma = info.gama_chunk.map(|gamma| f64::from(gamma.into_value()));
    let points = info.chrm_chunk.map(|c| {
        [c.white, c.red, c.green, c.blue].map(|(x, y)| [f64::from(x.into_value()), f64::from(y.into_value())])
    });
    match (gamma, points) {
        (None, None) => match exif.and_then(Exif::colours) {
            Some(ExifColours::AdobeRgb) => Tag::AdobeRgb,
            Some(ExifColours::Uncalibrated) => Tag::Uncalibrated,
            Some(ExifColours::Srgb) | None => Tag::None,
        },
        _ => Tag::Chromaticities { gamma, points },
    }
}

/// Whether there is an iCCP chunk before the pixels.
fn has_profile(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((&[a, b, c, d, ref name @ ..], after)) = rest.split_first_chunk::<8>() {
        match name {
            b"iCCP" => return true,
            b"IDAT" => return false,
            _ => {}
        }
        // The body and its checksum.
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        rest = length.checked_add(4).and_then(|n| after.get(n..)).unwrap_or_default();
    }
    false
}
