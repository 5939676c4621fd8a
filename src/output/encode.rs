//! Encodings of a picture.

use std::io::Write;
use std::path::Path;

use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, rgb_to_ycbcr};

use super::{OutputError, Picture, PictureInfo};

/// Chosen by extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    Safetensors,
}

/// The public code's default.
const JPEG_QUALITY: u8 = 95;

impl Format {
    /// What the extension says; a stream without one of these is PNG.
    pub(super) fn of(path: &Path, is_stream: bool) -> Result<Self, OutputError> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "png" => Ok(Self::Png),
            "jpg" | "jpeg" => Ok(Self::Jpeg),
            "safetensors" => Ok(Self::Safetensors),
            _ if is_stream => Ok(Self::Png),
            _ => Err(OutputError::Extension { path: path.display().to_string(), extension }),
        }
    }
}

/// Writes sample `sample` (all samples for safetensors) in `format`.
pub(super) fn encode(
    format: Format,
    picture: &Picture,
    sample: usize,
    info: &PictureInfo,
    path: &Path,
    file: &mut dyn Write,
) -> Result<(), OutputError> {
    let result = match format {
        Format::Png => png_file(picture, sample, info, file),
        Format::Jpeg => jpeg_file(picture, sample, info, file),
        Format::Safetensors => safetensors_file(picture, info, file),
    };
    result.map_err(|message| OutputError::Encode { path: path.display().to_string(), message })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn png_file(picture: &Picture, sample: usize, info: &PictureInfo, file: &mut dyn Write) -> Result<(), String> {
    let width = u32::try_from(picture.width).map_err(text)?;
    let height = u32::try_from(picture.height).map_err(text)?;
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // The default takes longer than a GPU's decode: 5.0 s for a grainy 4096x4096 picture of 24.9 MB, this 0.11 s and
    // 24.2 MB (smooth pictures grow by some 10 %).
    encoder.set_compression(png::Compression::Fast);
    for (keyword, value) in info {
        // tEXt is Latin-1; anything else needs iTXt.
        let latin1 = value.chars().all(|c| (c as u32) < 256);
        let added = if latin1 {
            encoder.add_text_chunk(keyword.clone(), value.clone())
        } else {
            encoder.add_itxt_chunk(keyword.clone(), value.clone())
        };
        added.map_err(text)?;
    }
    let mut writer = encoder.write_header().map_err(text)?;
    writer.write_image_data(&picture.to_rgb8(sample)).map_err(text)?;
    writer.finish().map_err(text)
}

fn jpeg_file(picture: &Picture, sample: usize, info: &PictureInfo, file: &mut dyn Write) -> Result<(), String> {
    let width = u16::try_from(picture.width).map_err(text)?;
    let height = u16::try_from(picture.height).map_err(text)?;
    let mut encoder = Encoder::new(file, JPEG_QUALITY);
    let comment = info.iter().map(|(k, v)| format!("{k}: {v}")).collect::<Vec<_>>().join("\n");
    // Marker 14 of the APP range is taken by Adobe; 11 is free.
    encoder.add_app_segment(11, comment.into_bytes()).map_err(text)?;
    encoder.encode_image(Rgb { pixels: &picture.to_rgb8(sample), width, height }).map_err(text)
}

/// Pixels as the JPEG encoder takes them. Its own `encode` is compiled once for each of nine colour types.
struct Rgb<'a> {
    /// `[height, width, 3]`.
    pixels: &'a [u8],
    width: u16,
    height: u16,
}

impl ImageBuffer for Rgb<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let stride = 3 * usize::from(self.width);
        let row = &self.pixels[usize::from(y) * stride..][..stride];
        for [r, g, b] in row.as_chunks::<3>().0 {
            let (luma, blue, red) = rgb_to_ycbcr(*r, *g, *b);
            buffers[0].push(luma);
            buffers[1].push(blue);
            buffers[2].push(red);
        }
    }
}

fn safetensors_file(picture: &Picture, info: &PictureInfo, file: &mut dyn Write) -> Result<(), String> {
    let bytes: &[u8] = bytemuck::cast_slice(&picture.data);
    let shape = vec![picture.batch, 3, picture.height, picture.width];
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).map_err(text)?;
    let metadata = info.iter().cloned().collect();
    let whole = safetensors::serialize([("image", view)], Some(metadata)).map_err(text)?;
    file.write_all(&whole).map_err(text)
}
