//! The user's picture at a size that the demo model can take.

use resize::Pixel::GrayF32;
use resize::Type::Catrom;
use resize::px::Gray;

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
    let resizer = resize::new(picture.width, picture.height, width, height, GrayF32, Catrom);
    let mut resizer = resizer.expect("both pictures have pixels");
    let mut data = Vec::with_capacity(picture.batch * 3 * height * width);
    let mut target = vec![Gray::new(0f32); height * width];
    for source in picture.data.chunks_exact(picture.height * picture.width) {
        let source: Vec<_> = source.iter().copied().map(Gray::new).collect();
        resizer.resize(&source, &mut target).expect("two planes of the sizes announced");
        data.extend(target.iter().map(|v| v.value().clamp(-1.0, 1.0)));
    }
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
