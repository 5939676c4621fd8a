//! The user's picture at a size that the demo model can take.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::latent::{InputError, dct16};
use crate::output::Picture;

/// The middle of the picture, its longest side scaled down to `longest` pixels where it is larger, both sides multiples
/// of 32.
///
/// # Errors
/// When less than 32 pixels of a side are left.
pub(super) fn fitted(picture: Picture, longest: usize) -> Result<Picture, InputError> {
    let side = picture.width.max(picture.height);
    if side <= longest {
        return dct16::crop(picture);
    }
    let scaled = |extent: usize| ((extent * longest) as f64 / side as f64).round().max(1.0) as usize;
    dct16::crop(resized(&picture, scaled(picture.width), scaled(picture.height)))
}

/// Cubic convolution over all source pixels that a new one covers; values stay in [-1, 1].
fn resized(picture: &Picture, width: usize, height: usize) -> Picture {
    let size = |extent: usize| u32::try_from(extent).expect("a picture that was read has sides below 2^27");
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    let mut data = vec![0f32; picture.batch * 3 * height * width];
    let sources = picture.data.chunks_exact(picture.height * picture.width);
    for (source, target) in sources.zip(data.chunks_exact_mut(height * width)) {
        let source = bytemuck::cast_slice(source);
        let source = ImageRef::new(size(picture.width), size(picture.height), source, PixelType::F32);
        let target = Image::from_slice_u8(size(width), size(height), bytemuck::cast_slice_mut(target), PixelType::F32);
        let (source, mut target) = (source.expect("a whole plane"), target.expect("a whole plane"));
        Resizer::new().resize(&source, &mut target, &options).expect("two planes of one kind");
    }
    data.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0));
    Picture { data, batch: picture.batch, height, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Picture {
        let value = |i: usize| (i % width) as f32 / width as f32 - 0.5 + (i / width / height) as f32 / 10.0;
        Picture { data: (0..3 * height * width).map(value).collect(), batch: 1, height, width }
    }

    #[test]
    fn larger_pictures_shrink_and_smaller_ones_stay() {
        let size = |p: Result<Picture, InputError>| p.map(|p| (p.width, p.height));
        assert_eq!(size(fitted(ramp(1000, 750), 512)), Ok((512, 384)));
        assert_eq!(size(fitted(ramp(300, 1200), 512)), Ok((128, 512)));
        assert_eq!(size(fitted(ramp(100, 70), 512)), Ok((96, 64)));
        assert!(fitted(ramp(2000, 40), 512).is_err_and(|e| e.to_string().contains("512x10")));
    }

    #[test]
    fn a_ramp_stays_a_ramp_in_every_channel() {
        let small = fitted(ramp(640, 640), 320).unwrap();
        for (i, value) in small.data.iter().enumerate() {
            let (x, channel) = (i % 320, i / (320 * 320));
            let expected = (2 * x) as f32 / 640.0 + 0.5 / 640.0 - 0.5 + channel as f32 / 10.0;
            // Beyond the edges there is no ramp.
            assert!(!(2..318).contains(&x) || (value - expected).abs() < 1e-4, "{x}: {value}, {expected}");
        }
    }
}
