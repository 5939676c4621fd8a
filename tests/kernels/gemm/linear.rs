//! `gemm_linear`: `output = A W^T + bias`.

use pid_engine::kernels::params::PidLinearParams;
use pid_engine::kernels::{OpCall, RowsOfA};

use super::case::{Case, Expected, Held, Test, assert_repeats, assert_right};
use super::operands::{Operands, Size, Stream, one_stream, product_of, size};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Device, devices, entry, kernels_of, one_device, special_kernels_of};
use crate::values::Random;

/// One or two groups, each with its own range of the output's rows.
struct Linear {
    streams: Vec<Stream>,
    size: Size,
    operands: Vec<Operands>,
}

impl Linear {
    fn new(streams: Vec<Stream>, size: Size) -> Self {
        let mut random = Random::new((size.n + size.k) as u64);
        let operands = streams.iter().map(|s| Operands::random(s.total(), &s.rows(), size, &mut random)).collect();
        Self { streams, size, operands }
    }

    fn plain(rows: usize, n: usize, k: usize) -> Self {
        Self::new(vec![one_stream(1, rows)], size(n, k))
    }
}

impl Case for Linear {
    fn inner(&self) -> usize {
        self.size.k
    }

    fn name(&self) -> String {
        let ranges: Vec<_> = self.streams.iter().map(|s| s.range.clone()).collect();
        format!("rows {ranges:?}, {:?}", self.size)
    }

    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<Held>, String> {
        let on: Vec<_> = self.operands.iter().map(|o| o.upload(device, kernel)).collect();
        let groups: Vec<_> = on.iter().zip(&self.streams).map(|(on, s)| on.group(s)).collect();
        let gemm = product_of(&groups, self.size);
        let output = device.output::<u16>(self.streams[0].total() * self.size.n);
        let params = PidLinearParams { gemm, output: output.mut_ptr() };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Stream, &params))?;
        Ok(vec![output.read()?.into()])
    }

    fn expected(&self) -> Vec<Expected> {
        let (mut rows, mut sums) = (Vec::new(), Vec::new());
        for (stream, operands) in self.streams.iter().zip(&self.operands) {
            let product = operands.product(&stream.rows());
            sums.extend(product.iter().enumerate().map(|(i, x)| x + f64::from(operands.bias[i % self.size.n])));
            rows.extend(stream.rows());
        }
        vec![Expected::new("output", self.size.n, rows, |r| sums.iter().map(|x| r.bf16(*x)).collect())]
    }
}

#[test]
fn any_size() {
    let sizes = [[1, 1, 8], [127, 128, 32], [128, 127, 40], [129, 129, 96], [131, 257, 136]];
    assert_right(&["gemm_linear"], &devices(), sizes.map(|[rows, n, k]| Linear::plain(rows, n, k)));
}

/// Rows, columns and inner sizes around those of a tile and a slice; several tiles a block; an odd number of row tiles.
#[test]
fn any_size_by_tma() {
    let sizes =
        [[1, 8, 8], [127, 128, 64], [128, 136, 72], [129, 256, 96], [131, 264, 136], [300, 320, 520], [640, 248, 328]];
    assert_right(&special_kernels_of("gemm_linear"), &devices(), sizes.map(|[rows, n, k]| Linear::plain(rows, n, k)));
}

/// The features' projections, and one that is cut to a sixteenth of its 24576 columns.
#[test]
fn model_sizes() {
    let sizes = [[300, 16, 1536], [70, 1152, 1536], [70, 1536, 1152]];
    assert_right(&kernels_of("gemm_linear"), &one_device(), sizes.map(|[rows, n, k]| Linear::plain(rows, n, k)));
}

/// More row tiles than a band has.
#[test]
fn more_than_one_band_of_tiles() {
    let sizes = [[8 * 128 + 1, 130, 40], [17 * 128, 257, 8]];
    assert_right(&["gemm_linear"], &one_device(), sizes.map(|[rows, n, k]| Linear::plain(rows, n, k)));
    assert_right(&special_kernels_of("gemm_linear"), &one_device(), [Linear::plain(33 * 128 + 1, 264, 8)]);
}

#[test]
fn ranges_of_rows_and_wider_weights() {
    let cases = [
        Linear::new(vec![one_stream(2, 100).only(37..168)], size(72, 40)),
        Linear::new(vec![one_stream(3, 50).only(149..150)], size(128, 96)),
        Linear::new(vec![one_stream(1, 130)], Size { n: 129, k: 72, ldb: 128 }),
    ];
    assert_right(&["gemm_linear"], &devices(), cases);
}

#[test]
fn two_groups_with_their_own_weights() {
    let ranges =
        |first: std::ops::Range<usize>, second| vec![one_stream(1, 400).only(first), one_stream(1, 400).only(second)];
    let cases = [
        Linear::new(ranges(3..134, 140..141), size(136, 40)),
        Linear::new(ranges(399..400, 0..257), Size { n: 65, k: 40, ldb: 48 }),
    ];
    assert_right(&["gemm_linear"], &devices(), cases);
}

#[test]
fn groups_ranges_and_wider_weights_by_tma() {
    let ranges =
        |first: std::ops::Range<usize>, second| vec![one_stream(1, 400).only(first), one_stream(1, 400).only(second)];
    let cases = [
        Linear::new(vec![one_stream(2, 100).only(37..168)], size(72, 40)),
        Linear::new(vec![one_stream(3, 50).only(149..150)], size(128, 96)),
        Linear::new(vec![one_stream(1, 130)], Size { n: 136, k: 72, ldb: 128 }),
        Linear::new(ranges(3..134, 140..141), size(136, 40)),
        Linear::new(ranges(399..400, 0..257), Size { n: 264, k: 40, ldb: 48 }),
    ];
    assert_right(&special_kernels_of("gemm_linear"), &devices(), cases);
}

/// Buffers that hold the range alone are named by where row 0 would lie.
#[test]
fn buffers_of_a_range() {
    let (rows, n, k, first) = (131, 136, 40, 1000);
    let case = Linear::plain(rows, n, k);
    let test = Test::new(Linear::plain(rows, n, k));
    let kernels = ["gemm_linear", "gemm_linear_128x256_pair_sm90", "gemm_linear_128x256_pair_bulk_sm90"];
    let runs = |(device, kernel): &(Device, &str)| device.runs(kernel);
    let pairs = devices().into_iter().flat_map(|device| kernels.map(|kernel| (device.clone(), kernel)));
    for (device, kernel) in pairs.filter(runs) {
        let on = case.operands[0].upload(&device, kernel);
        let output = device.output::<u16>(rows * n);
        let mut group = on.group(&one_stream(1, first + rows).only(first..first + rows));
        group.a = group.a.wrapping_sub(first * k);
        let gemm = product_of(&[group], case.size);
        let params = PidLinearParams { gemm, output: output.mut_ptr().wrapping_sub(first * n) };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Stream, &params)).unwrap();
        let held = output.read().unwrap();
        test.check_held(&device, kernel, &[held.into()]).unwrap_or_else(|e| panic!("{}: {e}", device.name));
    }
}

/// A store far from its array must end in a message: in other memory it would be another test's failure.
#[test]
fn a_far_store_reaches_no_other_memory() {
    let case = Linear::plain(1, 16, 8);
    let device = &one_device()[0];
    let others: Vec<_> = (0..64).map(|_| device.output::<u16>(1 << 16)).collect();
    let on = case.operands[0].upload(device, "gemm_linear");
    let gemm = product_of(&[on.group(&case.streams[0])], case.size);
    for distance in [-5 << 17, -1 << 17, 1 << 17, 5 << 17] {
        let output = others[32].mut_ptr().wrapping_offset(distance);
        let params = PidLinearParams { gemm, output };
        let error = device.call("gemm_linear", &OpCall::product("gemm_linear", RowsOfA::Stream, &params)).unwrap_err();
        assert!(error.contains("gemm_linear"), "{error}");
    }
}

#[test]
fn the_same_bits_in_every_run() {
    assert_repeats(&["gemm_linear"], &devices(), Linear::plain(131, 257, 136));
    assert_repeats(&special_kernels_of("gemm_linear"), &devices(), Linear::plain(300, 264, 520));
}

#[test]
fn faults_are_caught() {
    let (of_sm_90, portable): (Vec<&str>, Vec<&str>) =
        faults_of("gemm_linear").into_iter().partition(|fault| entry(fault).family == "sm90");
    let test = Test::new(Linear::plain(131, 129, 136));
    assert_caught(&portable, |device, kernel| test.check(device, kernel));
    // Each block has several tiles, each tile more slices than the ring slots.
    let test = Test::new(Linear::plain(601, 264, 520));
    let (bulk, of_sm_90): (Vec<&str>, Vec<&str>) =
        of_sm_90.into_iter().partition(|fault| entry(fault).has_bulk_stores());
    assert_caught(&of_sm_90, |device, kernel| test.check(device, kernel));
    // All boxes of a tile are stored: one without columns waits for those before it as any other.
    let test = Test::new(Linear::plain(301, 512, 72));
    assert_caught(&bulk, |device, kernel| test.check(device, kernel));
}
