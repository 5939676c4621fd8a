//! The latent code `dct16`: a picture's quarter-size copy as 16 numbers per 8x8 block. It needs no weights and has the
//! geometry of the FLUX latents (16 channels, 8 low-quality pixels or 32 output pixels to a position).
//!
//! Encoding: average over squares of 4x4 pixels; full-range YCbCr (ITU-R BT.601), chroma centred on 0; orthonormal
//! 8x8 DCT-II. Of each block the first coefficients in zig-zag order are kept, 8 of Y, 4 of Cb and 4 of Cr; each, less
//! its mean, is divided by its standard deviation. [`decode`] is the inverse, which a network's picture is held
//! against: what was dropped is 0, and the quarter-size picture is enlarged by bicubic interpolation.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use rayon::prelude::*;

use super::{InputError, Latent, bicubic};
use crate::output::Picture;

/// Channels of a latent.
pub const CHANNELS: usize = 16;
/// Picture pixels to a side of one latent position.
pub const PIXELS: usize = SHRINK * BLOCK;

const SHRINK: usize = bicubic::FACTOR;
const BLOCK: usize = 8;
/// Coefficients kept of Y, Cb, Cr.
const KEPT: [usize; 3] = [8, 4, 4];
/// (row, column) frequencies in the order of ITU-T T.81, figure A.6.
const ZIGZAG: [(usize, usize); 8] = [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2)];
/// Weights of red, green and blue in Y.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];
/// `R - Y` to a unit of Cr, `B - Y` to a unit of Cb.
const RED: f64 = 2.0 * (1.0 - LUMA[0]);
const BLUE: f64 = 2.0 * (1.0 - LUMA[2]);

/// One block of one component.
type Block = [[f64; BLOCK]; BLOCK];

/// What the coefficients are normalized by. It belongs to a checkpoint, which was trained on latents of that scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Mean of each channel's raw coefficients, picture values in [-1, 1].
    pub mean: [f32; CHANNELS],
    /// Their standard deviation, positive.
    pub std: [f32; CHANNELS],
}

impl Default for Statistics {
    /// Of the demo model's training pictures: `tools/train_demo/dct16.json`.
    fn default() -> Self {
        Self {
            mean: [
                -2.221872, 0.024432, 0.015643, 0.002942, -0.014809, 0.006549, -0.021757, -0.000328, -0.651039,
                -0.001626, -0.001946, 0.005241, 1.164635, 0.004613, -0.000202, -0.003912,
            ],
            std: [
                3.845482, 0.888224, 0.763844, 0.376205, 0.441385, 0.414461, 0.270778, 0.291788, 1.121121, 0.211115,
                0.185039, 0.09116, 1.616616, 0.256693, 0.251449, 0.104663,
            ],
        }
    }
}

impl Statistics {
    const KEYS: [&str; 2] = ["dct16.mean", "dct16.std"];

    /// From the metadata of a checkpoint or a latent file; `None` where it has none.
    ///
    /// # Errors
    /// When a key is missing beside the other or is not a JSON array of 16 finite numbers, or a deviation is not
    /// positive.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Option<Self>, InputError> {
        let bad = |key, message: String| InputError::Statistics { key, message };
        let [mean, std] = Self::KEYS.map(|key| metadata.get(key));
        if mean.is_none() && std.is_none() {
            return Ok(None);
        }
        let parse = |index: usize, text: Option<&String>| {
            let key = Self::KEYS[index];
            let text = text.ok_or_else(|| bad(key, format!("missing, but {} is there", Self::KEYS[1 - index])))?;
            let values: Vec<f32> = serde_json::from_str(text).map_err(|e| bad(key, e.to_string()))?;
            let found = values.len();
            let values = <[f32; CHANNELS]>::try_from(values).map_err(|_| bad(key, format!("has {found} numbers")))?;
            match values.iter().find(|v| !v.is_finite()) {
                Some(value) => Err(bad(key, format!("has {value}"))),
                None => Ok(values),
            }
        };
        let (mean, std) = (parse(0, mean)?, parse(1, std)?);
        match std.iter().find(|v| **v <= 0.0) {
            Some(value) => Err(bad(Self::KEYS[1], format!("has {value}, not above 0"))),
            None => Ok(Some(Self { mean, std })),
        }
    }

    /// As [`Self::from_metadata`] reads it.
    pub fn metadata(&self) -> [(String, String); 2] {
        let text = |values: &[f32]| format!("[{}]", values.iter().map(f32::to_string).collect::<Vec<_>>().join(", "));
        [(Self::KEYS[0].into(), text(&self.mean)), (Self::KEYS[1].into(), text(&self.std))]
    }
}

/// Checks that a picture of this size has a latent.
///
/// # Errors
/// When a side is 0 or not a multiple of 32; the message names the nearest sizes.
pub fn check_size(width: usize, height: usize) -> Result<(), InputError> {
    let fits = |side: usize| side > 0 && side.is_multiple_of(PIXELS);
    if fits(width) && fits(height) { Ok(()) } else { Err(InputError::PictureSize { width, height, of: PIXELS }) }
}

/// The middle of a picture whose sides need not be multiples of 32, at most 31 rows and columns smaller.
///
/// # Errors
/// When a side is below 32.
pub fn crop(picture: Picture) -> Result<Picture, InputError> {
    let (width, height) = (picture.width / PIXELS * PIXELS, picture.height / PIXELS * PIXELS);
    if width == 0 || height == 0 {
        return Err(InputError::PictureSize { width: picture.width, height: picture.height, of: PIXELS });
    }
    Ok(picture.middle(width, height))
}

/// Latent `[B, 16, H/32, W/32]` of pictures `[B, 3, H, W]` in [-1, 1].
///
/// # Errors
/// When a side is not a multiple of 32 ([`crop`] makes it one), or a value is not finite.
pub fn encode(picture: &Picture, statistics: &Statistics) -> Result<Latent, InputError> {
    check_size(picture.width, picture.height)?;
    let shape = [picture.batch, CHANNELS, picture.height / PIXELS, picture.width / PIXELS];
    let [_, _, rows, columns] = shape;
    let plane = rows * columns;
    let waves = waves();
    let mut data = vec![0.0; picture.batch * CHANNELS * plane];
    let positions: Vec<[f32; CHANNELS]> = (0..picture.batch * plane)
        .into_par_iter()
        .map(|i| {
            let blocks = to_ycbcr(&shrunk(picture, i / plane, i % plane / columns, i % columns));
            let mut channels = [0.0; CHANNELS];
            for (c, (component, frequency)) in kept().enumerate() {
                let raw = coefficient(&waves, &blocks[component], frequency);
                channels[c] = ((raw - f64::from(statistics.mean[c])) / f64::from(statistics.std[c])) as f32;
            }
            channels
        })
        .collect();
    for (i, channels) in positions.iter().enumerate() {
        for (c, value) in channels.iter().enumerate() {
            data[(i / plane * CHANNELS + c) * plane + i % plane] = *value;
        }
    }
    Latent::new(data, shape)
}

/// The quarter-size pictures `[B, 3, H/4, W/4]` that a latent stands for, not clamped to [-1, 1].
///
/// # Errors
/// When the latent does not have 16 channels.
pub fn low_quality(latent: &Latent, statistics: &Statistics) -> Result<Picture, InputError> {
    let (rows, columns) = (latent.height, latent.width);
    if latent.channels != CHANNELS {
        let shape = vec![latent.batch, latent.channels, rows, columns];
        let expected = format!("dct16 has {CHANNELS} channels");
        return Err(InputError::Shape { what: "latent", shape, expected });
    }
    let plane = rows * columns;
    let waves = waves();
    let (height, width) = (rows * BLOCK, columns * BLOCK);
    let mut data = vec![0.0; latent.batch * 3 * height * width];
    for (i, position) in (0..latent.batch * plane).map(|i| (i, i % plane)) {
        let mut blocks = [[[0.0; BLOCK]; BLOCK]; 3];
        for (c, (component, frequency)) in kept().enumerate() {
            let value = latent.data[(i / plane * CHANNELS + c) * plane + position];
            let raw = f64::from(value) * f64::from(statistics.std[c]) + f64::from(statistics.mean[c]);
            add_wave(&waves, &mut blocks[component], frequency, raw);
        }
        let (top, left) = (position / columns * BLOCK, position % columns * BLOCK);
        for (c, block) in to_rgb(&blocks).iter().enumerate() {
            for (y, row) in block.iter().enumerate() {
                let start = ((i / plane * 3 + c) * height + top + y) * width + left;
                data[start..start + BLOCK].iter_mut().zip(row).for_each(|(d, v)| *d = *v as f32);
            }
        }
    }
    Ok(Picture { data, batch: latent.batch, height, width })
}

/// Pictures `[B, 3, H, W]` in [-1, 1] without a network: [`low_quality`] enlarged four times by bicubic interpolation
/// (Keys' kernel with a = -0.5, also known as Catmull-Rom).
///
/// # Errors
/// When the latent does not have 16 channels.
pub fn decode(latent: &Latent, statistics: &Statistics) -> Result<Picture, InputError> {
    let mut picture = bicubic::enlarge(&low_quality(latent, statistics)?);
    picture.data.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0));
    Ok(picture)
}

/// (component, frequency) of each channel.
fn kept() -> impl Iterator<Item = (usize, (usize, usize))> {
    KEPT.iter().enumerate().flat_map(|(component, count)| ZIGZAG[..*count].iter().map(move |f| (component, *f)))
}

/// `waves[k][i]`, row k the orthonormal DCT-II's wave of frequency k.
fn waves() -> Block {
    std::array::from_fn(|k| {
        let scale = if k == 0 { 1.0 } else { 2f64.sqrt() } / (BLOCK as f64).sqrt();
        std::array::from_fn(|i| scale * (PI * (2 * i + 1) as f64 * k as f64 / (2 * BLOCK) as f64).cos())
    })
}

fn coefficient(waves: &Block, block: &Block, (row, column): (usize, usize)) -> f64 {
    let along = |values: &[f64; BLOCK]| values.iter().zip(&waves[column]).map(|(v, w)| v * w).sum::<f64>();
    block.iter().zip(&waves[row]).map(|(values, w)| w * along(values)).sum()
}

fn add_wave(waves: &Block, block: &mut Block, (row, column): (usize, usize), raw: f64) {
    for (values, vertical) in block.iter_mut().zip(&waves[row]) {
        values.iter_mut().zip(&waves[column]).for_each(|(v, w)| *v += raw * vertical * w);
    }
}

/// Red, green and blue of the block at latent position (row, column), averaged over squares.
fn shrunk(picture: &Picture, sample: usize, row: usize, column: usize) -> [Block; 3] {
    let mut blocks = [[[0.0; BLOCK]; BLOCK]; 3];
    for (c, block) in blocks.iter_mut().enumerate() {
        for y in 0..PIXELS {
            let line = (sample * 3 + c) * picture.height + row * PIXELS + y;
            let start = line * picture.width + column * PIXELS;
            let squares = picture.data[start..start + PIXELS].as_chunks::<SHRINK>().0;
            for (sum, square) in block[y / SHRINK].iter_mut().zip(squares) {
                *sum += square.iter().map(|v| f64::from(*v)).sum::<f64>() / (SHRINK * SHRINK) as f64;
            }
        }
    }
    blocks
}

fn to_ycbcr([red, green, blue]: &[Block; 3]) -> [Block; 3] {
    let mut out = [[[0.0; BLOCK]; BLOCK]; 3];
    for (y, x) in (0..BLOCK * BLOCK).map(|i| (i / BLOCK, i % BLOCK)) {
        let (r, g, b) = (red[y][x], green[y][x], blue[y][x]);
        let luma = LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
        out[0][y][x] = luma;
        out[1][y][x] = (b - luma) / BLUE;
        out[2][y][x] = (r - luma) / RED;
    }
    out
}

fn to_rgb([luma, cb, cr]: &[Block; 3]) -> [Block; 3] {
    let mut out = [[[0.0; BLOCK]; BLOCK]; 3];
    for (y, x) in (0..BLOCK * BLOCK).map(|i| (i / BLOCK, i % BLOCK)) {
        let (r, b) = (luma[y][x] + RED * cr[y][x], luma[y][x] + BLUE * cb[y][x]);
        out[0][y][x] = r;
        out[1][y][x] = (luma[y][x] - LUMA[0] * r - LUMA[2] * b) / LUMA[1];
        out[2][y][x] = b;
    }
    out
}

#[cfg(test)]
mod tests;
