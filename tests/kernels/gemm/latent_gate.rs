//! `gemm_latent_gate`: `stream += sigmoid(A W^T + half - alpha sigma) features`, and what the next product reads.

use half::bf16;
use pid_engine::kernels::params::PidLatentGateParams;
use pid_engine::kernels::{OpCall, RowsOfA};

use super::case::{Case, Expected, Held, Test, assert_repeats, assert_right};
use super::emit::Emit;
use super::operands::{Operands, Size, Stream, one_stream, product_of, size};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, entry, kernels_of, one_device};
use crate::values::{Random, Rounding, bits};

struct LatentGate {
    rows: Stream,
    operands: Operands,
    stream: Vec<f32>,
    features: Vec<bf16>,
    half: Vec<bf16>,
    sigma: Vec<f32>,
    alpha: f32,
    emit: Emit,
}

impl LatentGate {
    fn new(rows: Stream, size: Size, emit: bool) -> Self {
        let mut random = Random::new((size.n + size.k) as u64);
        let values = rows.total() * size.n;
        Self {
            operands: Operands::random(rows.total(), &rows.rows(), size, &mut random),
            stream: random.floats(values, 2.0),
            features: random.bf16s(values, 2.0),
            half: random.bf16s(values, 1.0),
            sigma: (0..rows.batch).map(|b| 0.9 - 0.7 * b as f32).collect(),
            alpha: 1.7,
            emit: Emit::random(rows.total(), size.n, emit, &mut random),
            rows,
        }
    }

    /// The updated rows.
    fn updated(&self) -> Vec<f64> {
        let n = self.operands.size.n;
        let places = self.rows.places();
        let value = |(i, x): (usize, &f64)| {
            let place = places[i / n];
            let at = place.stream * n + i % n;
            let logit = x + self.half[at].to_f64() - f64::from(self.alpha) * f64::from(self.sigma[place.sample]);
            f64::from(self.stream[at]) + self.features[at].to_f64() / (1.0 + (-logit).exp())
        };
        self.operands.product(&self.rows.rows()).iter().enumerate().map(value).collect()
    }
}

impl Case for LatentGate {
    fn inner(&self) -> usize {
        self.operands.size.k
    }

    fn name(&self) -> String {
        format!("rows {:?}, {:?}", self.rows.range, self.operands.size)
    }

    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<Held>, String> {
        let on = self.operands.upload(device, kernel);
        let (stream, sigma) = (device.input(&self.stream), device.input(&self.sigma));
        let (features, half) = (device.input(&bits(&self.features)), device.input(&bits(&self.half)));
        let emit = self.emit.upload(device);
        let mut group = on.group(&self.rows);
        // It is in the features' half.
        group.bias = std::ptr::null();
        let gemm = product_of(&[group], self.operands.size);
        let params = PidLatentGateParams {
            gemm,
            stream: stream.mut_ptr(),
            features: features.ptr(),
            feature_half: half.ptr(),
            sigma: sigma.ptr(),
            gate_weight: std::ptr::null(),
            emit: emit.params(),
            alpha: self.alpha,
            reserved: 0,
        };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Stream, &params))?;
        let [operand, sums] = emit.read()?;
        Ok(vec![stream.read()?.into(), operand, sums])
    }

    fn expected(&self) -> Vec<Expected> {
        let updated = self.updated();
        let x = |r: Rounding| updated.iter().map(|x| r.f32(*x)).collect::<Vec<f64>>();
        let mut stream = Expected::new("stream", self.operands.size.n, self.rows.rows(), x);
        stream.before = Some(self.stream.clone().into());
        let [operand, sums] = self.emit.expected(&self.rows.places(), x);
        vec![stream, operand, sums]
    }
}

#[test]
fn any_size() {
    let sizes = [[1, 64, 64], [127, 128, 128], [128, 192, 192], [129, 64, 8], [131, 320, 320]];
    let cases = sizes.map(|[rows, n, k]| LatentGate::new(one_stream(1, rows), size(n, k), true));
    assert_right(&kernels_of("gemm_latent_gate"), &devices(), cases);
}

/// More tiles than blocks, and more slices than a ring has slots.
#[test]
fn several_tiles_a_block() {
    let cases = [
        LatentGate::new(one_stream(1, 300), size(320, 520), true),
        LatentGate::new(one_stream(2, 320).only(1..640), Size { n: 192, k: 328, ldb: 384 }, false),
    ];
    assert_right(&kernels_of("gemm_latent_gate"), &devices(), cases);
}

#[test]
fn batches_ranges_and_no_emit() {
    let cases = [
        LatentGate::new(one_stream(3, 43), size(64, 64), true),
        LatentGate::new(one_stream(2, 67), size(128, 128), false),
        LatentGate::new(one_stream(3, 50).only(45..148), Size { n: 64, k: 40, ldb: 64 }, true),
        LatentGate::new(one_stream(2, 70).only(139..140), size(64, 64), false),
    ];
    assert_right(&kernels_of("gemm_latent_gate"), &devices(), cases);
}

#[test]
fn model_size() {
    assert_right(
        &kernels_of("gemm_latent_gate"),
        &one_device(),
        [LatentGate::new(one_stream(2, 67), size(1536, 1536), true)],
    );
}

#[test]
fn the_same_bits_in_every_run() {
    assert_repeats(
        &kernels_of("gemm_latent_gate"),
        &devices(),
        LatentGate::new(one_stream(2, 67), size(192, 192), true),
    );
}

#[test]
fn faults_are_caught() {
    let test = Test::new(LatentGate::new(one_stream(2, 66), size(192, 328), true));
    assert_caught(&faults_of("gemm_latent_gate"), |device, kernel| test.check(device, kernel));
}
