//! Enlargement four times by bicubic interpolation: Keys' kernel with a = -0.5, also known as Catmull-Rom ("Cubic
//! convolution interpolation for digital image processing", 1981). Pixels are squares, so output pixel `i` lies at
//! `(i + 0.5) / 4 - 0.5`; beyond the edge the outermost pixel repeats.

use crate::output::Picture;
use crate::parallel;

/// Output pixels to a side of an input pixel.
pub(super) const FACTOR: usize = 4;

const A: f64 = -0.5;
const TAPS: usize = 4;

/// How far left of its own pixel an output pixel of each phase starts to read, and its weights.
fn taps() -> [(isize, [f32; TAPS]); FACTOR] {
    std::array::from_fn(|phase| {
        let position = (phase as f64 + 0.5) / FACTOR as f64 - 0.5;
        let first = position.floor() - 1.0;
        (first as isize, std::array::from_fn(|k| kernel(position - first - k as f64) as f32))
    })
}

fn kernel(x: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        A * (((x - 5.0) * x + 8.0) * x - 4.0)
    } else {
        0.0
    }
}

/// Pictures `[B, 3, H, W]` as `[B, 3, 4 H, 4 W]`; values may leave the range of the input by an eighth of it and more.
pub(super) fn enlarge(picture: &Picture) -> Picture {
    let (height, width) = (picture.height, picture.width);
    let taps = taps();
    let clamped = |i: usize, offset: isize, end: usize| i.saturating_add_signed(offset).min(end - 1);
    let mut wide = vec![0.0f32; picture.data.len() * FACTOR];
    parallel::pieces(&mut wide, width * FACTOR, &|line, out| {
        let row = &picture.data[line * width..][..width];
        for (i, value) in out.iter_mut().enumerate() {
            let (first, weights) = &taps[i % FACTOR];
            let read = |k: usize| row[clamped(i / FACTOR, first + k as isize, width)];
            *value = weights.iter().enumerate().map(|(k, w)| w * read(k)).sum();
        }
    });
    let mut data = vec![0.0f32; wide.len() * FACTOR];
    parallel::pieces(&mut data, width * FACTOR, &|line, out| {
        let (plane, y) = (line / (height * FACTOR), line % (height * FACTOR));
        let (first, weights) = &taps[y % FACTOR];
        for (k, weight) in weights.iter().enumerate() {
            let source = plane * height + clamped(y / FACTOR, first + k as isize, height);
            let row = &wide[source * width * FACTOR..][..width * FACTOR];
            out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
        }
    });
    Picture { data, batch: picture.batch, height: height * FACTOR, width: width * FACTOR }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(height: usize, width: usize, value: impl Fn(usize, usize, usize) -> f32) -> Picture {
        let pixels = (0..3 * height * width).map(|i| (i / (height * width), i / width % height, i % width));
        Picture { data: pixels.map(|(c, y, x)| value(c, y, x)).collect(), batch: 1, height, width }
    }

    /// Keys' kernel with a = -0.5 reproduces polynomials of degree 2 away from the edges.
    #[test]
    fn parabolas_stay_parabolas() {
        let value = |c: usize, y: f32, x: f32| (c as f32 + 1.0) * 0.01 * x * x - 0.02 * y * y + 0.03 * x * y - 0.1 * y;
        let out = enlarge(&picture(7, 9, |c, y, x| value(c, y as f32, x as f32)));
        assert_eq!((out.height, out.width, out.data.len()), (28, 36, 3 * 28 * 36));
        let place = |i: usize| (i as f32 + 0.5) / 4.0 - 0.5;
        for (c, y, x) in (0..3 * 28 * 36).map(|i| (i / (28 * 36), i / 36 % 28, i % 36)) {
            if (8..20).contains(&y) && (8..28).contains(&x) {
                let (found, expected) = (out.data[(c * 28 + y) * 36 + x], value(c, place(y), place(x)));
                assert!((found - expected).abs() < 1e-5, "{c} {y} {x}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn one_colour_stays_it_up_to_the_edge() {
        let out = enlarge(&picture(1, 3, |c, _, _| c as f32 - 0.75));
        assert_eq!((out.height, out.width), (4, 12));
        for (i, value) in out.data.iter().enumerate() {
            assert!((value - ((i / 48) as f32 - 0.75)).abs() < 1e-6, "{i}: {value}");
        }
    }
}
