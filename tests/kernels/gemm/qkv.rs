//! `gemm_qkv_folded_d64` and `gemm_qkv_d72`: projection, per-head RMS norm of q and k, rotation, split into heads.

use std::f64::consts::TAU;

use pid_engine::kernels::params::{PidFold, PidQkvParams, PidQkvStream};
use pid_engine::kernels::{OpCall, RowsOfA};

use super::case::{Case, Expected, Held, Test, assert_repeats, assert_right};
use super::fold::{Fold, FoldOnDevice};
use super::operands::{
    OnDevice, Operands, Place, Size, Stream, one_stream, product_of, storing_boxes, storing_rows, two_streams,
};
use crate::faults::{assert_caught, faults_of};
use crate::under_test::{Array, Device, devices, entry, kernels_of, one_device};
use crate::values::Random;

/// The norms' epsilon.
const EPSILON: f64 = 1e-6;

/// One stream's share.
struct Part {
    stream: Stream,
    operands: Operands,
    /// None: rows come normalised (heads of 72).
    fold: Option<Fold>,
    /// Of q and k.
    norms: [Vec<f32>; 2],
    /// Image: columns of the patch grid. Text: 0.
    grid_cols: usize,
    /// (cos, sin) of the even and of the odd pairs, `[positions, head_dim / 4]`.
    rotary: [Vec<[f32; 2]>; 2],
}

struct Qkv {
    heads: usize,
    head_dim: usize,
    parts: Vec<Part>,
}

/// Any angles do: whose they are is the tables' matter.
fn turns(positions: usize, head_dim: usize, random: &mut Random) -> Vec<[f32; 2]> {
    let turn = |_| {
        let angle = f64::from(random.value()) * TAU;
        [angle.cos() as f32, angle.sin() as f32]
    };
    (0..positions * (head_dim / 4)).map(turn).collect()
}

impl Part {
    fn new(stream: Stream, grid_cols: usize, [heads, head_dim]: [usize; 2], [k, ldb]: [usize; 2]) -> Self {
        let size = Size { n: 3 * heads * head_dim, k, ldb };
        let mut random = Random::new((size.n + k + stream.joint_first) as u64);
        let positions = match grid_cols {
            0 => [stream.per_sample; 2],
            cols => [cols, stream.per_sample / cols],
        };
        Self {
            operands: Operands::random(stream.total(), &stream.rows(), size, &mut random),
            fold: (head_dim == 64).then(|| Fold::random(stream.total(), size, 1.0, &mut random)),
            norms: [0, 1].map(|_| random.floats(head_dim, 1.5)),
            rotary: positions.map(|p| turns(p, head_dim, &mut random)),
            grid_cols,
            stream,
        }
    }

    /// `part` (0 q, 1 k, 2 v) of one head of the row at `place`, from its columns of the product.
    fn head(&self, part: usize, place: &Place, columns: &[f64]) -> Vec<f64> {
        let Some(norm) = self.norms.get(part) else { return columns.to_vec() };
        let d = columns.len();
        let inverse = 1.0 / (columns.iter().map(|x| x * x).sum::<f64>() / d as f64 + EPSILON).sqrt();
        let normal: Vec<f64> = columns.iter().zip(norm).map(|(x, w)| x * inverse * f64::from(*w)).collect();
        let (x, y) = match self.grid_cols {
            0 => (place.token, place.token),
            cols => (place.token % cols, place.token / cols),
        };
        let turned = |(pair, [a, b]): (usize, &[f64; 2])| {
            let position = [x, y][pair % 2];
            let [cos, sin] = self.rotary[pair % 2][position * (d / 4) + pair / 2].map(f64::from);
            [a * cos - b * sin, a * sin + b * cos]
        };
        normal.as_chunks::<2>().0.iter().enumerate().flat_map(turned).collect()
    }

    fn upload(&self, device: &Device, kernel: &str) -> PartOnDevice {
        PartOnDevice {
            operands: self.operands.upload(device, kernel),
            fold: self.fold.as_ref().map(|f| f.upload(device)),
            norms: [0, 1].map(|i| device.input(&self.norms[i])),
            rotary: [0, 1].map(|i| device.input(self.rotary[i].as_flattened())),
            grid_cols: self.grid_cols as u32,
        }
    }
}

struct PartOnDevice {
    operands: OnDevice,
    fold: Option<FoldOnDevice>,
    norms: [Array<f32>; 2],
    rotary: [Array<f32>; 2],
    grid_cols: u32,
}

impl PartOnDevice {
    fn params(&self) -> PidQkvStream {
        let none = PidFold { sums: std::ptr::null(), shift_product: std::ptr::null() };
        PidQkvStream {
            fold: self.fold.as_ref().map_or(none, FoldOnDevice::params),
            q_norm: self.norms[0].ptr(),
            k_norm: self.norms[1].ptr(),
            rotary_even: self.rotary[0].ptr(),
            rotary_odd: self.rotary[1].ptr(),
            grid_cols: self.grid_cols,
            reserved: 0,
        }
    }
}

impl Qkv {
    /// Each stream with its grid's columns, 0 for text.
    fn new(streams: Vec<(Stream, usize)>, [heads, head_dim]: [usize; 2], inner: [usize; 2]) -> Self {
        let part = |(stream, cols)| Part::new(stream, cols, [heads, head_dim], inner);
        Self { heads, head_dim, parts: streams.into_iter().map(part).collect() }
    }

    /// Text and an image.
    fn joint(batch: usize, text: usize, [rows, cols]: [usize; 2], heads: usize, k: usize) -> Self {
        let streams = two_streams(batch, [text, rows * cols]).into_iter().zip([0, cols]).collect();
        Self::new(streams, [heads, 64], [k, k])
    }

    /// An image alone.
    fn pixels(batch: usize, [rows, cols]: [usize; 2], heads: usize, inner: [usize; 2]) -> Self {
        Self::new(vec![(one_stream(batch, rows * cols), cols)], [heads, 72], inner)
    }
}

impl Case for Qkv {
    fn inner(&self) -> usize {
        self.parts[0].operands.size.k
    }

    fn name(&self) -> String {
        let ranges: Vec<_> = self.parts.iter().map(|p| p.stream.range.clone()).collect();
        format!("rows {ranges:?}, {:?}", self.parts[0].operands.size)
    }

    fn run(&self, device: &Device, kernel: &'static str) -> Result<Vec<Held>, String> {
        let on: Vec<_> = self.parts.iter().map(|p| p.upload(device, kernel)).collect();
        let groups: Vec<_> = on.iter().zip(&self.parts).map(|(on, p)| on.operands.group(&p.stream)).collect();
        let streams: Vec<_> = on.iter().map(PartOnDevice::params).collect();
        let gemm = product_of(&groups, self.parts[0].operands.size);
        let len = self.parts[0].stream.joint_total() * self.heads * self.head_dim;
        let [q, k, v] = [0, 1, 2].map(|_| device.output::<u16>(len));
        let params = PidQkvParams {
            gemm,
            stream: [streams[0], streams[streams.len() - 1]],
            q: q.mut_ptr(),
            k: k.mut_ptr(),
            v: v.mut_ptr(),
            heads: self.heads as u32,
            reserved: 0,
        };
        device.call(kernel, &OpCall::product(entry(kernel).op, RowsOfA::Stream, &params))?;
        Ok(vec![q.read()?.into(), k.read()?.into(), v.read()?.into()])
    }

    fn expected(&self) -> Vec<Expected> {
        let (heads, d) = (self.heads, self.head_dim);
        let mut lines = Vec::new();
        let mut values: [Vec<f64>; 3] = Default::default();
        for part in &self.parts {
            let mut z = part.operands.product(&part.stream.rows());
            if let Some(fold) = &part.fold {
                z = fold.apply(&part.stream.rows(), &z);
            }
            let joint = part.stream.joint_per_sample;
            for (place, row) in part.stream.places().iter().zip(z.chunks_exact(3 * heads * d)) {
                let token = place.joint % joint;
                lines.extend((0..heads).map(|head| (place.sample * heads + head) * joint + token));
                for (unit, columns) in row.chunks_exact(d).enumerate() {
                    values[unit / heads].extend(part.head(unit / heads, place, columns));
                }
            }
        }
        let outputs = ["q", "k", "v"].into_iter().zip(&values);
        let output = |(name, x): (_, &Vec<f64>)| {
            Expected::new(name, d, lines.clone(), |r| x.iter().map(|x| r.bf16(*x)).collect())
        };
        outputs.map(output).collect()
    }
}

#[test]
fn joint_sequences_of_any_size() {
    let cases = [
        Qkv::joint(1, 1, [1, 1], 1, 64),
        Qkv::joint(1, 127, [8, 16], 2, 64),
        Qkv::joint(1, 129, [1, 131], 1, 128),
        Qkv::joint(2, 3, [5, 13], 3, 192),
        Qkv::joint(3, 43, [43, 1], 1, 64),
    ];
    assert_right(&kernels_of("gemm_qkv_folded_d64"), &devices(), cases);
}

#[test]
fn ranges_of_rows_and_wider_weights() {
    let [text, image] = two_streams(3, [20, 60]).try_into().expect("two");
    let both = vec![(text.only(25..40), 0), (image.clone().only(60..101), 12)];
    assert_right(&kernels_of("gemm_qkv_folded_d64"), &devices(), [Qkv::new(both, [2, 64], [64, 72])]);
    let parts_of_samples = Qkv::new(vec![(image.only(7..150), 10)], [1, 64], [128, 128]);
    assert_right(&storing_rows(&kernels_of("gemm_qkv_folded_d64")), &devices(), [parts_of_samples]);
    let pixels = vec![(one_stream(3, 48).only(45..142), 8)];
    assert_right(&kernels_of("gemm_qkv_d72"), &devices(), [Qkv::new(pixels, [1, 72], [40, 48])]);
}

#[test]
fn images_of_any_size() {
    let cases = [
        Qkv::pixels(1, [1, 1], 1, [8, 8]),
        Qkv::pixels(1, [127, 1], 2, [32, 32]),
        Qkv::pixels(1, [8, 16], 3, [40, 64]),
        Qkv::pixels(1, [3, 43], 1, [96, 96]),
        Qkv::pixels(2, [1, 131], 4, [136, 136]),
    ];
    assert_right(&kernels_of("gemm_qkv_d72"), &devices(), cases);
}

/// More tiles than blocks, and more slices than a ring has slots; the last tile's heads are not all there.
#[test]
fn several_tiles_a_block() {
    assert_right(
        &kernels_of("gemm_qkv_folded_d64"),
        &devices(),
        [Qkv::joint(1, 20, [2, 150], 2, 576), Qkv::joint(2, 130, [3, 50], 1, 320)],
    );
    let cases = [Qkv::pixels(1, [3, 100], 3, [520, 520]), Qkv::pixels(2, [2, 129], 1, [328, 384])];
    assert_right(&kernels_of("gemm_qkv_d72"), &devices(), cases);
}

/// 24 heads of 64 on a hidden size of 1536, 300 tokens of text; 16 heads of 72 on 1152.
#[test]
fn model_sizes() {
    let cases = [Qkv::joint(1, 9, [4, 5], 24, 1536), Qkv::joint(1, 300, [2, 3], 2, 1536)];
    assert_right(&kernels_of("gemm_qkv_folded_d64"), &one_device(), cases);
    assert_right(&kernels_of("gemm_qkv_d72"), &one_device(), [Qkv::pixels(1, [4, 5], 16, [1152, 1152])]);
}

#[test]
fn the_same_bits_in_every_run() {
    assert_repeats(&kernels_of("gemm_qkv_folded_d64"), &devices(), Qkv::joint(2, 3, [5, 13], 2, 192));
    assert_repeats(&kernels_of("gemm_qkv_d72"), &devices(), Qkv::pixels(1, [3, 43], 2, [136, 136]));
}

#[test]
fn faults_are_caught() {
    let test = Test::new(Qkv::pixels(1, [1, 131], 2, [328, 328]));
    assert_caught(&faults_of("gemm_qkv_d72"), |device, kernel| test.check(device, kernel));
    let test = Test::new(Qkv::joint(1, 131, [1, 1], 1, 320));
    let of_d64 = faults_of("gemm_qkv_folded_d64");
    assert_caught(&storing_rows(&of_d64), |device, kernel| test.check(device, kernel));
    let test = Test::new(Qkv::joint(2, 3, [2, 65], 2, 64));
    assert_caught(&storing_boxes(&of_d64), |device, kernel| test.check(device, kernel));
}
