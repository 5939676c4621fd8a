//! `gemm_embed_patch` and `gemm_embed_rows`: float32 rows, rounded to bf16 on the way, through a linear.

use half::bf16;
use pid_engine::kernels::params::PidEmbedParams;
use pid_engine::kernels::{OpCall, RowsOfA};

use super::case::{Case, Expected, Held, Test, assert_repeats, assert_right};
use super::emit::Emit;
use super::operands::{Operands, Place, Size, Stream, one_stream, product_of, size};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, entry, one_device};
use crate::values::{Random, Rounding};

/// Side of a patch.
const PATCH: usize = 16;

/// Where the rows come from.
enum Source {
    Rows,
    /// Patches of pictures that are so many patches wide.
    Patches {
        cols: usize,
    },
}

struct Embed {
    source: Source,
    stream: Stream,
    values: Vec<f32>,
    /// `a` holds the rows as the kernel makes them: rounded.
    operands: Operands,
    emit: Emit,
}

impl Embed {
    fn rows(stream: Stream, size: Size) -> Self {
        let mut random = Random::new((size.n + size.k) as u64);
        let mut operands = Operands::random(stream.total(), &stream.rows(), size, &mut random);
        let values = random.floats(stream.total() * size.k, 1.0);
        operands.a = values.iter().copied().map(bf16::from_f32).collect();
        let emit = Emit::random(stream.total(), size.n, false, &mut random);
        Self { source: Source::Rows, stream, values, operands, emit }
    }

    fn patches(batch: usize, [rows, cols]: [usize; 2], [n, ldb]: [usize; 2], emit: bool) -> Self {
        let size = Size { n, k: 3 * PATCH * PATCH, ldb };
        let mut random = Random::new((n + rows * cols) as u64);
        let stream = one_stream(batch, rows * cols);
        let mut operands = Operands::random(stream.total(), &stream.rows(), size, &mut random);
        let values = random.floats(batch * 3 * rows * cols * PATCH * PATCH, 1.0);
        let (height, width) = (rows * PATCH, cols * PATCH);
        let pixel = |place: &Place, i: usize| {
            let (channel, y, x) = (i / (PATCH * PATCH), i / PATCH % PATCH, i % PATCH);
            let (y, x) = (place.token / cols * PATCH + y, place.token % cols * PATCH + x);
            bf16::from_f32(values[((place.sample * 3 + channel) * height + y) * width + x])
        };
        operands.a = stream.places().iter().flat_map(|p| (0..size.k).map(move |i| pixel(p, i))).collect();
        let emit = Emit::random(stream.total(), n, emit, &mut random);
        Self { source: Source::Patches { cols }, stream, values, operands, emit }
    }

    fn only(self, range: std::ops::Range<usize>) -> Self {
        Self { stream: self.stream.only(range), ..self }
    }
}

impl Case for Embed {
    fn inner(&self) -> usize {
        self.operands.size.k
    }

    fn name(&self) -> String {
        format!("rows {:?}, {:?}", self.stream.range, self.operands.size)
    }

    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<Held>, String> {
        let on = self.operands.upload(device, kernel);
        let (source, emit) = (device.input(&self.values), self.emit.upload(device));
        let output = device.output::<f32>(self.stream.total() * self.operands.size.n);
        let mut group = on.group(&self.stream);
        group.a = std::ptr::null();
        let gemm = product_of(&[group], self.operands.size);
        let [height, width] = match self.source {
            Source::Rows => [0, 0],
            Source::Patches { cols } => [self.stream.per_sample / cols * PATCH, cols * PATCH],
        };
        let params = PidEmbedParams {
            gemm,
            source: source.ptr(),
            output: output.mut_ptr(),
            emit: emit.params(),
            height: height as u32,
            width: width as u32,
        };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Loaded, &params))?;
        let [operand, sums] = emit.read()?;
        Ok(vec![output.read()?.into(), operand, sums])
    }

    fn expected(&self) -> Vec<Expected> {
        let n = self.operands.size.n;
        let product = self.operands.product(&self.stream.rows());
        let value = |(i, x): (usize, &f64)| x + f64::from(self.operands.bias[i % n]);
        let values: Vec<f64> = product.iter().enumerate().map(value).collect();
        let x = |r: Rounding| values.iter().map(|x| r.f32(*x)).collect::<Vec<f64>>();
        let [operand, sums] = self.emit.expected(&self.stream.places(), x);
        vec![Expected::new("output", n, self.stream.rows(), x), operand, sums]
    }
}

#[test]
fn rows_of_any_size() {
    let sizes = [[1, 64, 8], [127, 128, 32], [128, 192, 40], [129, 64, 96], [131, 320, 136]];
    assert_right(
        &["gemm_embed_rows"],
        &devices(),
        sizes.map(|[rows, n, k]| Embed::rows(one_stream(1, rows), size(n, k))),
    );
}

#[test]
fn ranges_of_rows_and_wider_weights() {
    let cases = [
        Embed::rows(one_stream(2, 65), Size { n: 64, k: 40, ldb: 64 }),
        Embed::rows(one_stream(3, 50).only(45..148), size(128, 72)),
        Embed::rows(one_stream(2, 70).only(139..140), size(64, 40)),
    ];
    assert_right(&["gemm_embed_rows"], &devices(), cases);
}

/// 300 tokens of a caption of width 2304.
#[test]
fn rows_of_the_model() {
    assert_right(&["gemm_embed_rows"], &one_device(), [Embed::rows(one_stream(1, 300), size(1536, 2304))]);
}

#[test]
fn pictures_of_any_size() {
    let pictures = [[1, 1], [1, 127], [128, 1], [3, 43]];
    let widths = [[64, 768], [128, 776], [192, 768], [64, 768]];
    let cases = pictures.into_iter().zip(widths).map(|(grid, width)| Embed::patches(1, grid, width, true));
    assert_right(&["gemm_embed_patch"], &devices(), cases);
}

#[test]
fn batches_ranges_and_no_emit() {
    let cases = [
        Embed::patches(2, [5, 13], [64, 768], true),
        Embed::patches(3, [2, 3], [64, 768], false),
        Embed::patches(2, [7, 11], [64, 768], true).only(70..151),
    ];
    assert_right(&["gemm_embed_patch"], &devices(), cases);
}

#[test]
fn patches_of_the_model() {
    assert_right(&["gemm_embed_patch"], &one_device(), [Embed::patches(1, [8, 17], [1536, 768], true)]);
}

#[test]
fn the_same_bits_in_every_run() {
    assert_repeats(&["gemm_embed_rows"], &devices(), Embed::rows(one_stream(1, 131), size(64, 136)));
    assert_repeats(&["gemm_embed_patch"], &devices(), Embed::patches(1, [3, 5], [64, 768], true));
}

#[test]
fn faults_are_caught() {
    let test = Test::new(Embed::rows(one_stream(1, 131), size(64, 136)));
    assert_caught(&faults_of("gemm_embed_rows"), |device, kernel| test.check(device, kernel));
}
