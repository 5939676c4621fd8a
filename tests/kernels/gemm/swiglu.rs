//! `gemm_swiglu`: `output = silu(w1 z) (w3 z)`, z the normalised rows.

use pid_engine::kernels::params::{PidFold, PidSwiGluParams};
use pid_engine::kernels::{OpCall, RowsOfA};

use super::case::{Case, Expected, Held, Test, assert_repeats, assert_right};
use super::fold::Fold;
use super::operands::{Operands, Size, Stream, one_stream, product_of, size, storing_boxes, storing_rows, two_streams};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, entry, kernels_of, one_device};
use crate::values::Random;

struct SwiGlu {
    streams: Vec<Stream>,
    size: Size,
    operands: Vec<Operands>,
    folds: Vec<Fold>,
}

impl SwiGlu {
    fn new(streams: Vec<Stream>, size: Size) -> Self {
        Self::with_rms(streams, size, 1.0)
    }

    fn with_rms(streams: Vec<Stream>, size: Size, rms: f32) -> Self {
        let mut random = Random::new((size.n + size.k) as u64);
        let operands = streams.iter().map(|s| Operands::random(s.total(), &s.rows(), size, &mut random)).collect();
        let folds = streams.iter().map(|s| Fold::random(s.total(), size, rms, &mut random)).collect();
        Self { streams, size, operands, folds }
    }
}

impl Case for SwiGlu {
    fn inner(&self) -> usize {
        self.size.k
    }

    fn name(&self) -> String {
        let ranges: Vec<_> = self.streams.iter().map(|s| s.range.clone()).collect();
        format!("rows {ranges:?}, {:?}", self.size)
    }

    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<Held>, String> {
        let on: Vec<_> = self.operands.iter().map(|o| o.upload(device, kernel)).collect();
        let folds: Vec<_> = self.folds.iter().map(|f| f.upload(device)).collect();
        let groups: Vec<_> = on.iter().zip(&self.streams).map(|(on, s)| on.group(s)).collect();
        let output = device.output::<u16>(self.streams[0].joint_total() * (self.size.n / 2));
        let folds: Vec<PidFold> = folds.iter().map(|f| f.params()).collect();
        let gemm = product_of(&groups, self.size);
        let params = PidSwiGluParams { gemm, fold: [folds[0], folds[folds.len() - 1]], output: output.mut_ptr() };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Stream, &params))?;
        Ok(vec![output.read()?.into()])
    }

    fn expected(&self) -> Vec<Expected> {
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for ((stream, operands), fold) in self.streams.iter().zip(&self.operands).zip(&self.folds) {
            let z = fold.apply(&stream.rows(), &operands.product(&stream.rows()));
            values.extend(z.as_chunks::<2>().0.iter().map(|[a, b]| a / (1.0 + (-a).exp()) * b));
            rows.extend(stream.places().iter().map(|p| p.joint));
        }
        vec![Expected::new("output", self.size.n / 2, rows, |r| values.iter().map(|x| r.bf16(*x)).collect())]
    }
}

#[test]
fn any_size() {
    let sizes = [[1, 64, 64], [127, 128, 64], [128, 192, 128], [129, 64, 192], [131, 320, 128]];
    let cases = sizes.map(|[rows, n, k]| SwiGlu::new(vec![one_stream(1, rows)], size(n, k)));
    assert_right(&kernels_of("gemm_swiglu"), &devices(), cases);
}

/// More tiles than blocks, and more slices than a ring has slots.
#[test]
fn several_tiles_a_block() {
    let cases = [
        SwiGlu::new(vec![one_stream(1, 300)], size(320, 576)),
        SwiGlu::new(two_streams(2, [130, 150]), size(192, 320)),
    ];
    assert_right(&kernels_of("gemm_swiglu"), &devices(), cases);
}

#[test]
fn two_streams_and_batches() {
    let cases = [
        SwiGlu::new(two_streams(1, [1, 1]), size(64, 64)),
        SwiGlu::new(two_streams(2, [3, 65]), Size { n: 192, k: 64, ldb: 72 }),
        SwiGlu::new(two_streams(3, [43, 42]), size(128, 128)),
    ];
    assert_right(&kernels_of("gemm_swiglu"), &devices(), cases);
}

#[test]
fn ranges_of_rows() {
    let [text, image] = two_streams(3, [20, 60]).try_into().expect("two");
    let cases = [
        SwiGlu::new(vec![text.clone().only(25..40), image.clone().only(60..101)], size(64, 64)),
        SwiGlu::new(vec![text.only(59..60)], size(64, 128)),
    ];
    assert_right(&kernels_of("gemm_swiglu"), &devices(), cases);
    let parts_of_samples = SwiGlu::new(vec![image.only(7..150)], size(128, 64));
    assert_right(&storing_rows(&kernels_of("gemm_swiglu")), &devices(), [parts_of_samples]);
}

/// Rows as small as the norm's epsilon.
#[test]
fn quiet_rows() {
    assert_right(
        &kernels_of("gemm_swiglu"),
        &devices(),
        [SwiGlu::with_rms(two_streams(1, [5, 6]), size(64, 128), 1e-3)],
    );
}

/// Hidden 1536, inner 4096; the text's 300 rows.
#[test]
fn model_sizes() {
    assert_right(
        &kernels_of("gemm_swiglu")[..2],
        &one_device(),
        [SwiGlu::new(two_streams(1, [9, 20]), size(8192, 1536))],
    );
    assert_right(&kernels_of("gemm_swiglu"), &one_device(), [SwiGlu::new(two_streams(1, [300, 130]), size(256, 1536))]);
}

#[test]
fn the_same_bits_in_every_run() {
    assert_repeats(&kernels_of("gemm_swiglu"), &devices(), SwiGlu::new(two_streams(2, [3, 65]), size(192, 128)));
}

#[test]
fn faults_are_caught() {
    let test = Test::new(SwiGlu::new(two_streams(2, [3, 65]), size(64, 384)));
    assert_caught(&storing_rows(&faults_of("gemm_swiglu")), |device, kernel| test.check(device, kernel));
    let test = Test::new(SwiGlu::new(two_streams(2, [3, 65]), size(512, 64)));
    assert_caught(&storing_boxes(&faults_of("gemm_swiglu")), |device, kernel| test.check(device, kernel));
}
