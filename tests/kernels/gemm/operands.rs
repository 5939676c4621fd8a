//! Streams of rows, and the operands of a product, on the host and in device memory.

use std::ops::Range;

use half::bf16;
use pid_engine::kernels::params::{PidGemm, PidGroup, PidRows};
use pid_engine::weights::order::RowOrder;
use rayon::prelude::*;

use crate::under_test::{Array, Device, entry};
use crate::values::{Random, bits};

/// `batch` samples of `per_sample` rows, of which a launch covers `range`, and where they lie in joint buffers.
#[derive(Clone, Debug)]
pub struct Stream {
    pub batch: usize,
    pub per_sample: usize,
    pub joint_per_sample: usize,
    pub joint_first: usize,
    pub range: Range<usize>,
}

/// One row of a [`Stream`].
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Row in the stream's own buffers.
    pub stream: usize,
    /// Row in joint buffers.
    pub joint: usize,
    pub sample: usize,
    pub token: usize,
}

impl Stream {
    /// Only rows `range` of the stream.
    pub fn only(self, range: Range<usize>) -> Self {
        Self { range, ..self }
    }

    pub fn total(&self) -> usize {
        self.batch * self.per_sample
    }

    pub fn joint_total(&self) -> usize {
        self.batch * self.joint_per_sample
    }

    /// The rows that a launch covers.
    pub fn places(&self) -> Vec<Place> {
        let all = (0..self.batch).flat_map(|sample| (0..self.per_sample).map(move |token| (sample, token)));
        all.enumerate()
            .filter(|(stream, _)| self.range.contains(stream))
            .map(|(stream, (sample, token))| {
                let joint = sample * self.joint_per_sample + self.joint_first + token;
                Place { stream, joint, sample, token }
            })
            .collect()
    }

    /// The same, in the stream's own buffers.
    pub fn rows(&self) -> Vec<usize> {
        self.range.clone().collect()
    }

    pub fn params(&self) -> PidRows {
        PidRows {
            first: self.range.start as u32,
            count: self.range.len() as u32,
            per_sample: self.per_sample as u32,
            joint_per_sample: self.joint_per_sample as u32,
            joint_first: self.joint_first as u32,
            reserved: 0,
        }
    }
}

/// A stream alone in its buffers.
pub fn one_stream(batch: usize, per_sample: usize) -> Stream {
    Stream { batch, per_sample, joint_per_sample: per_sample, joint_first: 0, range: 0..batch * per_sample }
}

/// Text and image.
pub fn two_streams(batch: usize, [text, image]: [usize; 2]) -> Vec<Stream> {
    let joint = text + image;
    let stream = |joint_first, per_sample| Stream {
        batch,
        per_sample,
        joint_per_sample: joint,
        joint_first,
        range: 0..batch * per_sample,
    };
    vec![stream(0, text), stream(text, image)]
}

/// Columns, inner size, and elements from row to row of W.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub n: usize,
    pub k: usize,
    pub ldb: usize,
}

/// W's rows as wide as A's.
pub fn size(n: usize, k: usize) -> Size {
    Size { n, k, ldb: k }
}

/// `A [rows, k]`, `W [n, ldb]` (zeros beyond k), `bias [n]`.
pub struct Operands {
    pub size: Size,
    pub a: Vec<bf16>,
    pub w: Vec<bf16>,
    pub bias: Vec<f32>,
}

impl Operands {
    /// Of A's `rows` rows, those not in `used` are NaN.
    pub fn random(rows: usize, used: &[usize], size: Size, random: &mut Random) -> Self {
        let Size { n, k, ldb } = size;
        let mut a = vec![bf16::NAN; rows * k];
        for row in used {
            a[row * k..][..k].copy_from_slice(&random.bf16s(k, 1.0));
        }
        let mut w = random.bf16s(n * ldb, 1.0 / (k as f32).sqrt());
        w.chunks_exact_mut(ldb).for_each(|row| row[k..].fill(bf16::ZERO));
        Self { size, a, w, bias: random.floats(n, 0.5) }
    }

    /// `A W^T` of `rows`, in float64: `[rows.len(), n]`.
    pub fn product(&self, rows: &[usize]) -> Vec<f64> {
        let Size { n, k, ldb } = self.size;
        let wide = |row: &[bf16]| row.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
        let w: Vec<Vec<f64>> = self.w.chunks_exact(ldb).map(|row| wide(&row[..k])).collect();
        let mut out = vec![0.0; rows.len() * n];
        out.par_chunks_mut(n).zip(rows).for_each(|(out, row)| {
            let a = wide(&self.a[row * k..][..k]);
            out.iter_mut().zip(&w).for_each(|(out, w)| *out = dot(&a, w));
        });
        out
    }

    /// As `kernel` takes them.
    pub fn upload(&self, device: &Device, kernel: &str) -> OnDevice {
        let w = stored(&self.w, self.size, entry(kernel).order);
        OnDevice { a: device.input(&bits(&self.a)), w: device.input(&bits(&w)), bias: device.input(&self.bias) }
    }
}

/// W in that order, zeros where it has no row.
pub fn stored(w: &[bf16], size: Size, order: RowOrder) -> Vec<bf16> {
    let row =
        |i: usize| w.chunks_exact(size.ldb).nth(order.column(i)).map_or(vec![bf16::ZERO; size.ldb], <[bf16]>::to_vec);
    (0..order.stored_rows(size.n)).flat_map(row).collect()
}

/// Eight sums side by side, which the compiler makes vectors of; inner sizes are multiples of 8.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

/// Those of `kernels` that store by rows: each finds its place by itself, in whatever sample.
pub fn storing_rows(kernels: &[&'static str]) -> Vec<&'static str> {
    kernels.iter().filter(|kernel| !entry(kernel).has_bulk_stores()).copied().collect()
}

/// The others, by boxes: what a launch covers of a joint output is whole samples, or rows of one.
pub fn storing_boxes(kernels: &[&'static str]) -> Vec<&'static str> {
    kernels.iter().filter(|kernel| entry(kernel).has_bulk_stores()).copied().collect()
}

/// [`Operands`] on a device.
pub struct OnDevice {
    pub a: Array<u16>,
    pub w: Array<u16>,
    pub bias: Array<f32>,
}

impl OnDevice {
    pub fn group(&self, stream: &Stream) -> PidGroup {
        PidGroup { a: self.a.ptr(), b: self.w.ptr(), bias: self.bias.ptr(), rows: stream.params() }
    }
}

/// A product of one or two groups.
pub fn product_of(groups: &[PidGroup], size: Size) -> PidGemm {
    PidGemm {
        group: [groups[0], groups[groups.len() - 1]],
        num_groups: groups.len() as u32,
        n: size.n as u32,
        k: size.k as u32,
        ldb: size.ldb as u32,
    }
}
