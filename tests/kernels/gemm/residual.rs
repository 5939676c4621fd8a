//! `gemm_residual`: `residual += gate (A W^T + bias)`, A in joint rows, and what the next product reads.

use pid_engine::kernels::params::{PidResidualParams, PidResidualStream};
use pid_engine::kernels::{OpCall, RowsOfA};

use super::case::{Case, Expected, Held, Test, assert_repeats, assert_right};
use super::emit::Emit;
use super::operands::{Operands, Size, Stream, one_stream, product_of, size, two_streams};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, entry, kernels_of, one_device};
use crate::values::{Random, Rounding};

/// One stream's share. A is the stream's own copy of the joint buffer: NaN where other rows lie.
struct Part {
    stream: Stream,
    operands: Operands,
    residual: Vec<f32>,
    gate: Vec<f32>,
    emit: Emit,
}

struct Residual {
    size: Size,
    parts: Vec<Part>,
}

impl Residual {
    /// `emit`: whether each stream's is wanted.
    fn new(streams: Vec<Stream>, size: Size, emit: &[bool]) -> Self {
        let mut random = Random::new((size.n + size.k) as u64);
        let part = |(stream, emit): (Stream, &bool)| {
            let joint: Vec<usize> = stream.places().iter().map(|p| p.joint).collect();
            Part {
                operands: Operands::random(stream.joint_total(), &joint, size, &mut random),
                residual: random.floats(stream.total() * size.n, 2.0),
                gate: random.floats(size.n, 1.0),
                emit: Emit::random(stream.total(), size.n, *emit, &mut random),
                stream,
            }
        };
        Self { size, parts: streams.into_iter().zip(emit).map(part).collect() }
    }
}

impl Part {
    /// The updated rows.
    fn updated(&self) -> Vec<f64> {
        let n = self.operands.size.n;
        let places = self.stream.places();
        let joint: Vec<usize> = places.iter().map(|p| p.joint).collect();
        let value = |(i, x): (usize, &f64)| {
            let before = f64::from(self.residual[places[i / n].stream * n + i % n]);
            before + f64::from(self.gate[i % n]) * (x + f64::from(self.operands.bias[i % n]))
        };
        self.operands.product(&joint).iter().enumerate().map(value).collect()
    }

    fn expected(&self) -> Vec<Expected> {
        let updated = self.updated();
        let x = |r: Rounding| updated.iter().map(|x| r.f32(*x)).collect::<Vec<f64>>();
        let mut residual = Expected::new("residual", self.operands.size.n, self.stream.rows(), x);
        residual.before = Some(self.residual.clone().into());
        let [operand, sums] = self.emit.expected(&self.stream.places(), x);
        vec![residual, operand, sums]
    }
}

impl Case for Residual {
    fn inner(&self) -> usize {
        self.size.k
    }

    fn name(&self) -> String {
        let ranges: Vec<_> = self.parts.iter().map(|p| p.stream.range.clone()).collect();
        format!("rows {ranges:?}, {:?}", self.size)
    }

    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<Held>, String> {
        let upload = |p: &Part| {
            let (residual, gate) = (device.input(&p.residual), device.input(&p.gate));
            (p.operands.upload(device, kernel), residual, gate, p.emit.upload(device))
        };
        let on: Vec<_> = self.parts.iter().map(upload).collect();
        let groups: Vec<_> = on.iter().zip(&self.parts).map(|(on, p)| on.0.group(&p.stream)).collect();
        let streams: Vec<_> = on
            .iter()
            .map(|(_, residual, gate, emit)| PidResidualStream {
                residual: residual.mut_ptr(),
                gate: gate.ptr(),
                emit: emit.params(),
            })
            .collect();
        let gemm = product_of(&groups, self.size);
        let params = PidResidualParams { gemm, stream: [streams[0], streams[streams.len() - 1]] };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Joint, &params))?;
        let mut held = Vec::new();
        for (_, residual, _, emit) in &on {
            held.push(residual.read()?.into());
            held.extend(emit.read()?);
        }
        Ok(held)
    }

    fn expected(&self) -> Vec<Expected> {
        self.parts.iter().flat_map(Part::expected).collect()
    }
}

#[test]
fn any_size() {
    let sizes = [[1, 64, 8], [127, 128, 32], [128, 192, 40], [129, 64, 96], [131, 320, 136]];
    let cases = sizes.map(|[rows, n, k]| Residual::new(vec![one_stream(1, rows)], size(n, k), &[true]));
    assert_right(&kernels_of("gemm_residual"), &devices(), cases);
}

#[test]
fn two_streams_and_batches() {
    let cases = [
        Residual::new(two_streams(1, [1, 1]), size(64, 8), &[true, true]),
        Residual::new(two_streams(2, [3, 65]), Size { n: 192, k: 40, ldb: 64 }, &[true, false]),
        Residual::new(two_streams(3, [43, 42]), size(128, 136), &[false, true]),
        Residual::new(two_streams(2, [65, 64]), size(64, 64), &[false, false]),
    ];
    assert_right(&kernels_of("gemm_residual"), &devices(), cases);
}

/// More tiles than blocks, more slices than a ring has slots; samples whose rows are no whole tiles.
#[test]
fn several_tiles_a_block() {
    let cases = [
        Residual::new(vec![one_stream(1, 300)], size(320, 520), &[true]),
        Residual::new(two_streams(2, [130, 150]), Size { n: 192, k: 328, ldb: 384 }, &[true, true]),
        Residual::new(two_streams(3, [37, 129]), size(320, 72), &[false, true]),
    ];
    assert_right(&kernels_of("gemm_residual"), &devices(), cases);
}

#[test]
fn ranges_of_rows() {
    let [text, image] = two_streams(3, [20, 60]).try_into().expect("two");
    let both = vec![text.clone().only(25..40), image.clone().only(60..101)];
    let cases = [
        Residual::new(both, size(64, 40), &[true, true]),
        Residual::new(vec![image.clone().only(60..180)], size(128, 40), &[true]),
        Residual::new(vec![text.only(59..60)], size(64, 8), &[false]),
    ];
    assert_right(&kernels_of("gemm_residual"), &devices(), cases);
}

/// Which one tensor map cannot have.
#[test]
fn ranges_across_samples() {
    let case = || Residual::new(vec![one_stream(3, 60).only(7..150)], size(128, 40), &[true]);
    assert_right(&kernels_of("gemm_residual")[..1], &devices(), [case()]);
}

/// Hidden 1536 after attention, and after the feed-forward's 4096; the text's 300 rows.
#[test]
fn model_sizes() {
    let cases = [
        Residual::new(two_streams(1, [300, 20]), size(1536, 1536), &[true, true]),
        Residual::new(two_streams(1, [9, 20]), size(1536, 4096), &[true, true]),
    ];
    assert_right(&kernels_of("gemm_residual"), &one_device(), cases);
}

#[test]
fn the_same_bits_in_every_run() {
    assert_repeats(
        &kernels_of("gemm_residual"),
        &devices(),
        Residual::new(two_streams(2, [3, 65]), size(192, 136), &[true, true]),
    );
}

#[test]
fn faults_are_caught() {
    let (of_tiles, of_one): (Vec<_>, Vec<_>) =
        faults_of("gemm_residual").into_iter().partition(|fault| fault.contains("_no_staged_"));
    let test = Test::new(Residual::new(two_streams(2, [3, 65]), size(64, 328), &[true, true]));
    assert_caught(&of_one, |device, kernel| test.check(device, kernel));
    // Blocks with several tiles, of different columns.
    let test = Test::new(Residual::new(vec![one_stream(1, 300)], size(1024, 72), &[true]));
    assert_caught(&of_tiles, |device, kernel| test.check(device, kernel));
}
